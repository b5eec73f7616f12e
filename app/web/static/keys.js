// A key is made, and its text shown this once.

import { ask } from "./page.js";

const at = (id) => document.getElementById(id);
const form = at("new-key"), made = at("made"), text = at("text");
const LIMITS = ["requests_per_minute", "pictures_per_minute", "concurrent_requests", "queued_tasks", "stored_bytes"];

function wish() {
  const ends = at("expires_at").value;
  const counts = LIMITS.filter((name) => at(name).value).map((name) => [name, Number(at(name).value)]);
  return {
    name: at("name").value.trim(),
    scopes: [...form.querySelectorAll('[name="scope"]:checked')].map((one) => one.value),
    models: at("models").value.split(",").map((one) => one.trim()).filter(Boolean),
    expires_at: ends ? new Date(ends).toISOString() : null,
    ...Object.fromEntries(counts),
  };
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const answer = await ask(form, { action: "/admin/keys", body: JSON.stringify(wish()) });
  if (!answer) return;
  const { name, key } = await answer.json();
  at("made-title").textContent = `“${name}” is made`;
  text.value = key;
  form.closest("dialog").close();
  made.showModal();
  text.select();
});

// Escape would take the text away for good.
for (const kind of ["keydown", "cancel"]) {
  made.addEventListener(kind, (event) => {
    if (kind === "cancel" || event.key === "Escape") event.preventDefault();
  });
}

at("copy").addEventListener("click", async () => {
  text.select();
  try {
    await navigator.clipboard.writeText(text.value); // over plain HTTP there is none
    at("copied").textContent = "Copied.";
  } catch {
    at("copied").textContent = "It is selected: copy it with your keyboard.";
  }
});

at("kept").addEventListener("click", () => {
  text.value = "";
  location.assign("/ui/keys");
});
