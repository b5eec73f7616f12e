// Arrays of a numpy archive (.npz), as `/segment` answers with `application/x-npz`.

const END = 0x06054b50, ENTRY = 0x02014b50;

/** Return {name: {shape, data}} of an archive; data is a typed array, or strings. */
export async function readArrays(buffer) {
  const arrays = {};
  for (const { name, bytes } of await entries(buffer)) {
    arrays[name.replace(/\.npy$/, "")] = array(bytes);
  }
  return arrays;
}

async function entries(buffer) {
  const view = new DataView(buffer), found = [];
  let end = buffer.byteLength - 22;
  while (end >= 0 && view.getUint32(end, true) !== END) end -= 1;
  if (end < 0) throw new Error("the answer is no archive");
  let at = view.getUint32(end + 16, true);
  for (let left = view.getUint16(end + 10, true); left > 0; left -= 1) {
    if (view.getUint32(at, true) !== ENTRY) throw new Error("the archive is damaged");
    const [named, extra, noted] = [28, 30, 32].map((place) => view.getUint16(at + place, true));
    const name = new TextDecoder().decode(new Uint8Array(buffer, at + 46, named));
    const local = view.getUint32(at + 42, true);
    const from = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    const packed = new Uint8Array(buffer, from, view.getUint32(at + 20, true));
    const bytes = view.getUint16(at + 10, true) === 0 ? packed.slice() : await inflated(packed);
    found.push({ name, bytes });
    at += 46 + named + extra + noted;
  }
  return found;
}

async function inflated(packed) {
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function array(bytes) {
  const long = bytes[6] === 1 ? 2 : 4;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const start = 8 + long + (long === 2 ? view.getUint16(8, true) : view.getUint32(8, true));
  const header = new TextDecoder().decode(bytes.subarray(8 + long, start));
  const kind = /'descr':\s*'([^']+)'/.exec(header)[1];
  const shape = /'shape':\s*\(([^)]*)\)/.exec(header)[1].split(",").filter((one) => one.trim()).map(Number);
  const data = bytes.slice(start);
  if (kind === "|u1") return { shape, data };
  if (kind === "<f2") return { shape, data: halves(new Uint16Array(data.buffer)) };
  if (kind.startsWith("<U")) return { shape, data: strings(new Uint32Array(data.buffer), Number(kind.slice(2))) };
  throw new Error(`an array of ${kind} cannot be read`);
}

function halves(words) {
  const values = new Float32Array(words.length);
  for (let i = 0; i < words.length; i += 1) {
    const exponent = (words[i] >> 10) & 31, rest = words[i] & 1023;
    const size = exponent === 0 ? rest * 2 ** -24 : (1 + rest / 1024) * 2 ** (exponent - 15);
    values[i] = words[i] >> 15 ? -size : size;
  }
  return values;
}

function strings(points, long) {
  const found = [];
  for (let at = 0; long > 0 && at < points.length; at += long) {
    const used = points.subarray(at, at + long).filter((point) => point !== 0);
    found.push(String.fromCodePoint(...used));
  }
  return found;
}
