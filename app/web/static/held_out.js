// Held-out pictures as they are labelled, as the version before sees them, and as this one does.

import { segment } from "./answers.js";
import { coloured, draw } from "./drawing.js";
import { sample, truth } from "./samples.js";

const OPACITY = 0.6;
const section = document.getElementById("held-out");

async function show(figure) {
  const [labelled, ...seen] = figure.querySelectorAll("canvas");
  const { blob, picture } = await sample(figure.dataset.picture);
  draw(labelled, picture, [await truth(figure.dataset.picture)], OPACITY);
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
