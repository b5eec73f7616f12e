// A zip, what the service finds in it, and then a task.

import { logIn, sessionHeaders } from "./page.js";

const at = (id) => document.getElementById(id);
const models = [...document.querySelectorAll("#models option")].map((one) => one.value);
let looking = 0;

function spec() {
  const value = (id) => at(id).value.trim();
  const gate = { promote: at("promote").checked };
  for (const name of ["max_drop", "min_iou"]) if (value(name)) gate[name] = Number(value(name));
  return {
    name: value("name") || "unnamed",
    model: value("model"),
    method: value("method"),
    ...(value("epochs") ? { epochs: Number(value("epochs")) } : {}),
    gate,
  };
}

function say(text) {
  at("wrong").textContent = text;
  at("wrong").hidden = !text;
}

/** Send the form; the answer is told of as it is, and how much was sent meanwhile. */
function send(path, headers = {}) {
  const form = new FormData();
  form.append("spec", JSON.stringify(spec()));
  form.append("dataset", at("file").files[0]);
  return new Promise((done, failed) => {
    const request = new XMLHttpRequest();
    request.open("POST", path);
    for (const [name, value] of Object.entries({ ...sessionHeaders(), ...headers })) {
      request.setRequestHeader(name, value);
    }
    request.upload.addEventListener("progress", ({ loaded, total }) => {
      at("sent").hidden = false;
      at("sent").value = total ? loaded / total : 0;
    });
    request.addEventListener("loadend", () => {
      at("sent").hidden = true;
      if (request.status) done(request);
      else failed(new Error("The service does not answer."));
    });
    request.send(form);
  });
}

function problem(request) {
  try {
    const { detail, title, errors } = JSON.parse(request.responseText);
    return [detail || title, ...(errors ?? []).slice(0, 5).map(({ field, message }) => `${field ?? ""} ${message}`)].join(" · ");
  } catch {
    return `The service answers ${request.status}.`;
  }
}

async function look() {
  const file = at("file").files[0];
  say("");
  at("found").replaceChildren();
  at("post").disabled = true;
  if (!file) return;
  if (file.size > Number(at("task").dataset.most)) return say("The file is larger than the service takes.");
  if (!at("name").value) at("name").value = file.name.replace(/\.zip$/i, "").slice(0, 200);
  const turn = (looking += 1);
  at("found").textContent = "Looking into it …";
  try {
    const answer = await send("/ui/tasks/look");
    if (turn !== looking) return undefined;
    if (answer.status === 401) return logIn();
    at("found").innerHTML = answer.responseText;
    at("post").disabled = answer.status !== 200 || Boolean(at("found").querySelector("[data-refused]"));
  } catch (error) {
    if (turn !== looking) return undefined;
    at("found").replaceChildren();
    say(error.message);
  }
  return undefined;
}

async function post() {
  at("post").disabled = true;
  say("");
  try {
    const answer = await send("/tasks", { "Idempotency-Key": crypto.getRandomValues(new Uint32Array(4)).join("-") });
    if (answer.status === 401) return logIn();
    if (answer.status === 202) return location.assign(`/ui/tasks/${JSON.parse(answer.responseText).id}`);
    say(problem(answer));
  } catch (error) {
    say(error.message);
  }
  at("post").disabled = false;
  return undefined;
}

at("file").addEventListener("change", look);
at("model").addEventListener("change", look);
at("model").addEventListener("input", () => {
  at("new-model").hidden = !models.length || models.includes(at("model").value.trim());
});
at("task").addEventListener("submit", (event) => {
  event.preventDefault();
  post();
});
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop" && event.dataTransfer.files.length) {
      at("file").files = event.dataTransfer.files;
      look();
    }
  });
}
