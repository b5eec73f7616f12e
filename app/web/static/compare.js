// Held-out pictures that two versions see differently: the largest difference of their scores first;
// last, by how many pixels they name differently, some that not both are scored on.

import { segment } from "./answers.js";
import { coloured, draw } from "./drawing.js";
import { hundredths, showRanked } from "./ranked.js";
import { sample, truth } from "./samples.js";

const OPACITY = 0.6, NAMED = 4;
const section = document.getElementById("differing");
const { model, version, otherModel, other } = section.dataset;
const unscored = section.querySelector(".unscored");

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

function scored(iou) {
  const apart = ([, [one, other]]) => Math.abs(one - other);
  const most = Object.entries(iou ?? {}).sort((first, second) => apart(second) - apart(first));
  const named = most.slice(0, NAMED).map(([name, pair]) => `${name} ${pair.map(hundredths).join(" → ")}`);
  return named.length ? `IoU ${named.join(", ")}${most.length > NAMED ? " …" : ""}; ` : "";
}

/** Draw a picture as it is labelled and as both versions see it. */
async function drawn({ model: of, version: number, position, classes, iou }) {
  const url = `/ui/models/${of}/versions/${number}/held-out/${position}`;
  const { blob, picture } = await sample(url);
  const figure = section.querySelector("template").content.cloneNode(true).firstElementChild;
  const [labelled, ...canvases] = figure.querySelectorAll("canvas");
  draw(labelled, picture, [await truth(url)], OPACITY);
  const answers = [];
  for (const canvas of canvases) {
    const answer = await segment(blob, canvas.dataset.model, canvas.dataset.version);
    draw(canvas, picture, [coloured(answer, new Set())], OPACITY);
    answers.push(answer);
  }
  const { share, which } = difference(...answers);
  figure.dataset.share = share;
  const seen = share ? `${hundredths(share)} % of pixels differ, most ${which}` : "they see the same";
  figure.querySelector(".share").textContent = scored(iou) + seen;
  const whose = of === model && of === otherModel ? "" : `${of}, `;
  figure.querySelector(".of").textContent = `of ${whose}version ${number}'s task, labelled for ${classes.join(", ")} alone`;
  return figure;
}

/** Say where those begin that are not ranked, and put these in an order. */
function arranged(answer, figures) {
  unscored.hidden = !answer.unscored;
  if (!answer.unscored) return;
  figures.sort((first, second) => second.dataset.share - first.dataset.share);
  const of = `the ${answer.unscored} held-out pictures that not both versions are scored on one by one`;
  unscored.textContent = `The last ${figures.length} are drawn evenly out of ${of}, and stand by how many pixels differ.`;
}

showRanked(section, {
  address: "/ui/compare/held-out",
  asked: { model, version, other_model: otherModel, other },
  drawn,
  arranged,
  nothing: "No held-out picture shows a class that both are scored on.",
});
