// Held-out pictures in an order, page after page, of all classes or of one.

import { askPart } from "./page.js";

/** Return a share as it is told. */
export const hundredths = (share) => (100 * share).toFixed(1);

/**
 * Show a section's pictures once its button is pressed.
 *
 * `address` and `asked` say where they are ranked, `drawn` makes a figure of one, `arranged` is given
 * each page's answer and figures before they are shown; `nothing` is said where there are none.
 */
export function showRanked(section, { address, asked = {}, drawn, arranged = () => {}, nothing }) {
  const [wrong, status, by, list, button] = [".wrong", '[role="status"]', "select", ".triples", "button"].map((one) =>
    section.querySelector(one),
  );
  let begin = 0;

  /** Return which pictures come next, of those ranked by a class; by none: by all. */
  async function next() {
    const query = new URLSearchParams({ ...asked, begin });
    if (by.value) query.set("by", by.value);
    const answer = await askPart(`${address}?${query}`);
    if (!answer.ok) throw new Error(`The pictures cannot be told: ${answer.status}.`);
    return answer.json();
  }

  async function show() {
    const answer = await next();
    const { classes, pictures, out_of: all, following } = answer;
    const figures = [];
    for (const one of pictures) {
      status.textContent = `Looking at picture ${begin + figures.length + 1} of ${all} …`;
      figures.push(await drawn(one));
    }
    arranged(answer, figures);
    if (!begin) list.replaceChildren();
    list.append(...figures);
    const chosen = by.value;
    by.replaceChildren(by.options[0], ...classes.map((name) => new Option(name, name, false, name === chosen)));
    by.closest(".fields").hidden = classes.length < 2;
    const shown = begin + figures.length;
    status.textContent = all ? `${shown} of ${all} are shown.` : nothing;
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
}
