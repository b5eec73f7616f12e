// Classes are chosen, what will happen is said, and then a task takes them away.

import { ask } from "./page.js";

const at = (id) => document.getElementById(id);
const form = at("retire-form"), sure = at("retire-sure");

function wish() {
  return {
    classes: [...form.querySelectorAll('[name="class"]:checked')].map((one) => one.value),
    depth: form.querySelector('[name="depth"]:checked').value,
  };
}

/** Return the wish as it is sent: JSON, or a form where pictures go along. */
function body() {
  const spec = JSON.stringify(wish());
  const [dataset] = at("retire-dataset").files;
  if (!dataset) return spec;
  const parts = new FormData();
  parts.append("spec", spec);
  parts.append("dataset", dataset);
  return parts;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const { classes, depth } = wish();
  const wrong = form.querySelector(".wrong");
  wrong.textContent = classes.length ? "" : "Choose a class.";
  wrong.hidden = classes.length > 0;
  if (!classes.length) return;
  for (const one of sure.querySelectorAll("[data-names]")) one.textContent = classes.join(", ");
  for (const one of sure.querySelectorAll("[data-depth]")) one.hidden = one.dataset.depth !== depth;
  sure.querySelector(".wrong").hidden = true;
  form.closest("dialog").close();
  sure.showModal();
});

at("retire-send").addEventListener("submit", async (event) => {
  event.preventDefault();
  const answer = await ask(event.target, { action: form.dataset.to, body: body() });
  if (answer) location.assign(`/ui/tasks/${(await answer.json()).id}`);
});
