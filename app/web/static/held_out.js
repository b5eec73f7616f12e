// Held-out pictures as they are labelled, as the version before sees them, and as this one does.

import { segment } from "./answers.js";
import { coloured, draw } from "./drawing.js";

const OPACITY = 0.6;
const section = document.getElementById("held-out");

async function load(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`The picture cannot be shown: ${answer.status}.`);
  return answer.blob();
}

async function show(figure) {
  const [truth, ...seen] = figure.querySelectorAll("canvas");
  const blob = await load(`${figure.dataset.picture}/picture`);
  const picture = await createImageBitmap(blob);
  const labels = await createImageBitmap(await load(`${figure.dataset.picture}/truth`));
  draw(truth, picture, [labels], OPACITY);
  for (const canvas of seen) {
    const answer = await segment(blob, section.dataset.model, canvas.dataset.version);
    draw(canvas, picture, [coloured(answer, new Set())], OPACITY);
  }
}

section.querySelector("button").addEventListener("click", async ({ target }) => {
  const wrong = section.querySelector(".wrong");
  target.disabled = true;
  section.querySelector(".triples").hidden = false;
  try {
    for (const figure of section.querySelectorAll("figure")) await show(figure);
    target.hidden = true;
  } catch (error) {
    wrong.textContent = error.message;
    wrong.hidden = false;
    target.disabled = false;
  }
});
