// Pictures with classes over them.

/** Return a canvas of a mask: each class that is shown in its colour, all else transparent. */
export function coloured(answer, hidden) {
  const canvas = new OffscreenCanvas(answer.width, answer.height);
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(answer.width, answer.height);
  const table = new Uint32Array(256);
  const bytes = new Uint8Array(table.buffer);
  for (const { index, name, color } of answer.classes) {
    if (index !== 0 && !hidden.has(name)) {
      bytes.set([1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16)), 4 * index);
      bytes[4 * index + 3] = 255;
    }
  }
  const words = new Uint32Array(pixels.data.buffer);
  for (let i = 0; i < words.length; i += 1) words[i] = table[answer.labels[i]];
  context.putImageData(pixels, 0, 0);
  return canvas;
}

/** Draw the picture, one mask over it, or two left and right of `split` (0 to 1). */
export function draw(canvas, picture, masks, opacity, split) {
  canvas.width = picture.width;
  canvas.height = picture.height;
  const context = canvas.getContext("2d");
  context.drawImage(picture, 0, 0);
  const edge = masks.length > 1 ? Math.round(split * canvas.width) : canvas.width;
  context.globalAlpha = opacity;
  part(context, masks[0], 0, edge);
  if (masks.length > 1) {
    part(context, masks[1], edge, canvas.width);
    context.globalAlpha = 1;
    context.fillStyle = "#ffffff";
    const wide = canvas.width / 300; // however few pixels the picture has
    context.fillRect(edge - wide / 2, 0, wide, canvas.height);
  }
}

function part(context, mask, from, to) {
  const { height } = mask;
  if (to > from) context.drawImage(mask, from, 0, to - from, height, from, 0, to - from, height);
}

/** Return {name: share of the pixels} of the classes that an answer shows. */
export function shares(answer) {
  const counts = new Uint32Array(256);
  for (const label of answer.labels) counts[label] += 1;
  const seen = answer.classes.filter(({ index }) => counts[index] > 0);
  return new Map(seen.map(({ index, name }) => [name, counts[index] / answer.labels.length]));
}
