// The page on which a visitor tries the model on a picture.

import { command, segment } from "./answers.js";
import { coloured, draw, shares } from "./drawing.js";

const at = (id) => document.getElementById(id);
const shown = { file: null, name: "", picture: null, answers: [], masks: [], hidden: new Set(), x: 0, y: 0 };
let asking = 0;

function say(text, wrong = false) {
  at("said").textContent = text;
  at("said").classList.toggle("wrong", wrong);
}

async function take(file) {
  Object.assign(shown, { file, name: file.name || "picture.png" });
  await ask();
}

async function ask() {
  if (!shown.file) return say("Choose a picture first.");
  const turn = (asking += 1);
  const file = shown.file;
  const model = at("model").value;
  const versions = [at("version").value, ...(at("other").value ? [at("other").value] : [])];
  say("Segmenting …");
  try {
    const picture = await createImageBitmap(file).catch(() => {
      throw new Error("The browser cannot show this file; the service may be able to read it all the same.");
    });
    const answers = []; // one after the other: a key may be limited to one request at a time
    for (const one of versions) answers.push(await segment(file, model, one));
    if (turn !== asking) return undefined; // a later picture was chosen meanwhile
    Object.assign(shown, { picture, answers, x: picture.width >> 1, y: picture.height >> 1 });
    show(model);
    return say(`Version ${answers.map((one) => one.version).join(" beside ")} of ${model}.`);
  } catch (error) {
    if (turn !== asking) return undefined;
    return say(error.message, true);
  }
}

function show(model) {
  at("shown").hidden = at("command").hidden = false;
  // As large as fits, small pictures too: a class may be a few pixels wide.
  at("picture").style.width = `${(75 * shown.picture.width) / shown.picture.height}vh`;
  at("split-field").hidden = shown.answers.length < 2;
  at("split-name").textContent = `Version ${shown.answers.map((one) => one.version).join(" left, ")} right`;
  at("curl").textContent = command(shown.name, model, shown.answers[0].version, "withKey" in at("asked").dataset);
  list();
  colour();
}

function list() {
  const found = shown.answers.map(shares);
  const classes = new Map(shown.answers.flatMap(({ classes: all }) => all.map((one) => [one.name, one])));
  const there = [...classes.values()].filter(({ name }) => found.some((of) => of.has(name)));
  at("classes").replaceChildren(...there.map((one) => row(one, found.map((of) => of.get(one.name) || 0))));
}

function row({ index, name, color }, parts) {
  const label = document.createElement("label");
  const box = Object.assign(document.createElement("input"), {
    type: "checkbox",
    checked: index !== 0 && !shown.hidden.has(name),
    disabled: index === 0,
  });
  box.addEventListener("change", () => {
    shown.hidden[box.checked ? "delete" : "add"](name);
    colour();
  });
  const swatch = document.createElement("canvas");
  Object.assign(swatch, { width: 16, height: 16, className: "swatch" });
  const context = swatch.getContext("2d");
  context.fillStyle = color;
  context.fillRect(0, 0, 16, 16);
  swatch.setAttribute("aria-hidden", "true");
  const text = Object.assign(document.createElement("span"), { textContent: name });
  const share = Object.assign(document.createElement("small"), {
    textContent: parts.map((part) => `${(100 * part).toFixed(1)} %`).join(" | "),
  });
  label.append(box, swatch, text, share);
  return label;
}

function colour() {
  shown.masks = shown.answers.map((answer) => coloured(answer, shown.hidden));
  paint();
}

function paint() {
  if (shown.masks.length) {
    draw(at("picture"), shown.picture, shown.masks, at("opacity").value / 100, at("split").value / 100);
  }
}

function tell() {
  const { width, height } = shown.picture;
  shown.x = Math.min(width - 1, Math.max(0, shown.x));
  shown.y = Math.min(height - 1, Math.max(0, shown.y));
  const said = shown.answers.map((answer) => {
    const place = shown.y * width + shown.x;
    const { name } = answer.classes.find(({ index }) => index === answer.labels[place]);
    return `${name} ${answer.scores[place].toFixed(2)} (version ${answer.version})`;
  });
  at("here").textContent = `${shown.x}, ${shown.y}: ${said.join(", ")}`;
}

at("picture").addEventListener("pointermove", (event) => {
  const box = at("picture").getBoundingClientRect();
  shown.x = Math.floor(((event.clientX - box.left) / box.width) * shown.picture.width);
  shown.y = Math.floor(((event.clientY - box.top) / box.height) * shown.picture.height);
  tell();
});

at("picture").addEventListener("keydown", (event) => {
  const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const step = steps[event.key];
  if (!step) return;
  event.preventDefault();
  const far = event.shiftKey ? Math.ceil(shown.picture.width / 20) : 1;
  shown.x += far * step[0];
  shown.y += far * step[1];
  tell();
});

at("opacity").addEventListener("input", paint);
at("split").addEventListener("input", paint);
at("asked").addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});
at("file").addEventListener("change", () => at("file").files[0] && take(at("file").files[0]));
document.addEventListener("paste", (event) => {
  const [file] = event.clipboardData.files;
  if (file) take(file);
});
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files[0]) take(event.dataTransfer.files[0]);
  });
}
