// Held-out pictures as they are labelled, as the version before sees them, and as this one does: the
// worst first, by all classes or by one.

import { segment } from "./answers.js";
import { coloured, draw } from "./drawing.js";
import { labels, sample } from "./samples.js";

const OPACITY = 0.6, IGNORED = 255;
const section = document.getElementById("held-out");
const { model, version, shown } = section.dataset;
const { sets, pictures } = JSON.parse(section.querySelector("script").textContent);
const [wrong, status, by, list, button] = [".wrong", '[role="status"]', "select", ".triples", "button"].map((one) =>
  section.querySelector(one),
);
let seen = [];

/** Return {name: IoU} of the classes that a picture is labelled for, as far as it has them or is said to. */
function scores(truth, answer, names) {
  const known = answer.classes.filter(({ index, name }) => index && names.includes(name));
  const counts = new Set(known.map(({ index }) => index));
  const both = new Uint32Array(256), either = new Uint32Array(256);
  truth.forEach((labelled, at) => {
    if (labelled === IGNORED) return;
    const called = counts.has(answer.labels[at]) ? answer.labels[at] : 0; // of others the labels say nothing
    either[labelled] += 1;
    if (called === labelled) both[labelled] += 1;
    else either[called] += 1;
  });
  const there = known.filter(({ index }) => either[index]);
  return new Map(there.map(({ index, name }) => [name, both[index] / either[index]]));
}

async function lookAt({ url, of }) {
  const { blob, picture } = await sample(url);
  const truth = await labels(url);
  const answer = await segment(blob, model, version);
  return { of, blob, picture, truth, answer, iou: scores(truth, answer, sets[of]), figure: null };
}

function score({ iou }, name) {
  if (name) return iou.get(name);
  return [...iou.values()].reduce((sum, one) => sum + one, 0) / iou.size;
}

const hundredths = (share) => (100 * share).toFixed(1);

/** Draw a picture as it is labelled and as versions see it, once. */
async function drawn(one) {
  const figure = section.querySelector("template").content.cloneNode(true).firstElementChild;
  const [labelled, ...others] = figure.querySelectorAll("canvas");
  draw(labelled, one.picture, [coloured({ ...one.answer, labels: one.truth }, new Set())], OPACITY);
  for (const canvas of others) {
    const own = canvas.dataset.version === version;
    const answer = own ? one.answer : await segment(one.blob, model, canvas.dataset.version);
    draw(canvas, one.picture, [coloured(answer, new Set())], OPACITY);
  }
  const worst = [...one.iou].sort(([, first], [, second]) => first - second).slice(0, 4);
  const named = worst.map(([name, share]) => `${name} ${hundredths(share)}`).join(", ");
  figure.querySelector(".share").textContent = `IoU ${named}${one.iou.size > 4 ? " …" : ""}`;
  figure.querySelector(".of").textContent = `of version ${one.of}'s task, labelled for ${sets[one.of].join(", ")} alone`;
  return figure;
}

async function show(name) {
  const having = seen.filter(({ iou }) => (name ? iou.has(name) : iou.size));
  const worst = having.sort((one, other) => score(one, name) - score(other, name)).slice(0, shown);
  for (const one of worst) one.figure ??= await drawn(one);
  list.replaceChildren(...worst.map(({ figure }) => figure));
}

async function look() {
  seen = [];
  for (const [at, [of, position]] of pictures.entries()) {
    status.textContent = `Looking at picture ${at + 1} of ${pictures.length} …`;
    const url = `/ui/models/${model}/versions/${of}/held-out/${position}`;
    seen.push(await lookAt({ url, of }));
  }
  const names = new Set(seen.flatMap(({ iou }) => [...iou.keys()]));
  by.replaceChildren(by.options[0], ...[...names].sort().map((name) => new Option(name)));
  await show("");
  status.textContent = names.size ? "" : "They show nothing, and it sees nothing in them.";
  by.closest(".fields").hidden = names.size < 2;
}

/** Do one thing at a time: of two, the slower one would win. */
async function tried(work) {
  const chosen = document.activeElement === by;
  button.disabled = by.disabled = wrong.hidden = true;
  try {
    await work();
    button.hidden = true;
  } catch (error) {
    wrong.textContent = error.message;
    wrong.hidden = false;
    status.textContent = "";
    button.disabled = false;
  } finally {
    by.disabled = false;
    if (chosen) by.focus(); // disabled, it lost it
  }
}

button.addEventListener("click", () => tried(look));
by.addEventListener("change", () => tried(() => show(by.value)));
