// Held-out pictures as they are labelled, as the version before sees them, and as this one does: the
// worst of all first, by all classes or by one.

import { segment } from "./answers.js";
import { coloured, draw } from "./drawing.js";
import { hundredths, showRanked } from "./ranked.js";
import { labels, sample } from "./samples.js";

const OPACITY = 0.6, NAMED = 4;
const section = document.getElementById("held-out");
const { model, version } = section.dataset;

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

showRanked(section, {
  address: `/ui/models/${model}/versions/${version}/held-out`,
  drawn,
  nothing: "They show nothing, and it sees nothing in them.",
});
