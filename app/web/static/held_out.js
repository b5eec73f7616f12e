// Held-out pictures as they are labelled, as the version before sees them, and as this one does: the
// worst of all first, by all classes or by one.

import { segment } from "./answers.js";
import { coloured, draw } from "./drawing.js";
import { labels, sample } from "./samples.js";

const OPACITY = 0.6, NAMED = 4;
const section = document.getElementById("held-out");
const { model, version } = section.dataset;
const [wrong, status, by, list, button] = [".wrong", '[role="status"]', "select", ".triples", "button"].map((one) =>
  section.querySelector(one),
);
let begin = 0;

/** Return which pictures come next, of those ranked by a class; by none: by all. */
async function next() {
  const asked = new URLSearchParams({ begin });
  if (by.value) asked.set("by", by.value);
  const answer = await fetch(`/ui/models/${model}/versions/${version}/held-out?${asked}`);
  if (!answer.ok) throw new Error(`The pictures cannot be told: ${answer.status}.`);
  return answer.json();
}

const hundredths = (share) => (100 * share).toFixed(1);

function said(iou) {
  if (!iou) return "not scored by itself";
  const worst = Object.entries(iou).sort(([, first], [, second]) => first - second);
  const named = worst.slice(0, NAMED).map(([name, share]) => `${name} ${hundredths(share)}`).join(", ");
  return `IoU ${named}${worst.length > NAMED ? " …" : ""}`;
}

/** Draw a picture as it is labelled and as versions see it. */
async function drawn({ version: of, position, classes, iou }) {
  const url = `/ui/models/${model}/versions/${of}/held-out/${position}`;
  const { blob, picture } = await sample(url);
  const truth = await labels(url);
  const figure = section.querySelector("template").content.cloneNode(true).firstElementChild;
  const [labelled, ...others] = figure.querySelectorAll("canvas");
  let answer; // at last this version's own, which knows what is labelled
  for (const canvas of others) {
    answer = await segment(blob, model, canvas.dataset.version);
    draw(canvas, picture, [coloured(answer, new Set())], OPACITY);
  }
  draw(labelled, picture, [coloured({ ...answer, labels: truth }, new Set())], OPACITY);
  figure.querySelector(".share").textContent = said(iou);
  figure.querySelector(".of").textContent = `of version ${of}'s task, labelled for ${classes.join(", ")} alone`;
  return figure;
}

async function show() {
  const { classes, pictures, out_of: all, following } = await next();
  const figures = [];
  for (const one of pictures) {
    status.textContent = `Looking at picture ${begin + figures.length + 1} of ${all} …`;
    figures.push(await drawn(one));
  }
  if (!begin) list.replaceChildren();
  list.append(...figures);
  const chosen = by.value;
  by.replaceChildren(by.options[0], ...classes.map((name) => new Option(name, name, false, name === chosen)));
  by.closest(".fields").hidden = classes.length < 2;
  const shown = begin + figures.length;
  status.textContent = all ? `${shown} of ${all} are shown.` : "They show nothing, and it sees nothing in them.";
  button.textContent = "Show more";
  button.hidden = following === null;
  begin = following ?? shown;
}

/** Do one thing at a time: of two, the slower one would win. */
async function tried(work) {
  const chosen = document.activeElement;
  button.disabled = by.disabled = wrong.hidden = true;
  try {
    await work();
  } catch (error) {
    wrong.textContent = error.message;
    wrong.hidden = false;
    status.textContent = "";
    button.hidden = false;
  } finally {
    button.disabled = by.disabled = false;
    if (chosen === by || chosen === button) chosen.focus(); // disabled, it lost it
  }
}

button.addEventListener("click", () => tried(show));
by.addEventListener("change", () => {
  begin = 0;
  return tried(show);
});
