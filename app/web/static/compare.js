// Held-out pictures that two versions see differently, the largest difference first.

import { segment } from "./answers.js";
import { coloured, draw } from "./drawing.js";
import { sample, truth } from "./samples.js";

const OPACITY = 0.6;
const section = document.getElementById("differing");
const [wrong, status, list, button] = [".wrong", '[role="status"]', ".triples", "button"].map((one) =>
  section.querySelector(one),
);

/** Return which share of a picture's pixels two answers name differently, and which names most. */
function difference(first, second) {
  const [names, others] = [first, second].map(({ classes }) => new Map(classes.map((one) => [one.index, one.name])));
  const pairs = new Uint32Array(256 * 256);
  for (let i = 0; i < first.labels.length; i += 1) pairs[256 * first.labels[i] + second.labels[i]] += 1;
  let [different, most, which] = [0, 0, ""];
  pairs.forEach((count, pair) => {
    const [name, other] = [names.get(pair >> 8), others.get(pair & 255)];
    if (!count || name === other) return;
    different += count;
    if (count > most) [most, which] = [count, `${name} → ${other}`];
  });
  return { share: different / first.labels.length, which };
}

async function lookAt(figure) {
  const { blob, picture } = await sample(figure.dataset.picture);
  const canvases = [...figure.querySelectorAll("canvas[data-version]")];
  const answers = [];
  for (const { dataset } of canvases) answers.push(await segment(blob, dataset.model, dataset.version));
  return { figure, picture, canvases, answers, ...difference(...answers) };
}

async function show({ figure, picture, canvases, answers, share, which }) {
  draw(figure.querySelector("canvas"), picture, [await truth(figure.dataset.picture)], OPACITY);
  canvases.forEach((canvas, at) => draw(canvas, picture, [coloured(answers[at], new Set())], OPACITY));
  figure.querySelector(".share").textContent = `${(100 * share).toFixed(1)} % differ, most ${which}:`;
  list.append(figure);
  figure.hidden = false;
}

/** Look at every picture; only the worst are kept meanwhile. */
async function look() {
  const figures = [...list.children];
  let worst = [];
  for (const [at, figure] of figures.entries()) {
    status.textContent = `Looking at picture ${at + 1} of ${figures.length} …`;
    const found = await lookAt(figure);
    if (found.share > 0) worst.push(found);
    worst = worst.sort((one, other) => other.share - one.share).slice(0, section.dataset.shown);
  }
  for (const one of worst) await show(one);
  status.textContent = worst.length ? "" : "They see the same in every one of them.";
}

button.addEventListener("click", async () => {
  button.disabled = wrong.hidden = true;
  try {
    await look();
    button.hidden = true;
  } catch (error) {
    wrong.textContent = error.message;
    wrong.hidden = false;
    status.textContent = "";
    button.disabled = false;
  }
});
