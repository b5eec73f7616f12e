// A zip, what the service finds in it, and then a task.

import { askPart, logIn, sessionHeaders } from "./page.js";

const at = (id) => document.getElementById(id);
const models = [...document.querySelectorAll("#models option")].map((one) => one.value);
let turn = 0, planned = 0, upload = null;
let once = { of: null, key: null };

const value = (id) => at(id).value.trim();
const numbers = (...ids) => Object.fromEntries(ids.filter(value).map((id) => [id, Number(value(id))]));

function spec() {
  const gate = { promote: at("promote").checked, ...numbers("max_drop", "min_iou") };
  return {
    name: value("name"),
    model: value("model"),
    create: isNew(),
    method: value("method"),
    ...numbers("epochs", "min_memory_mib", "priority"),
    device: value("device"),
    gate,
    ...more(),
  };
}

function more() {
  const text = at("more").value.trim();
  let said = {};
  try {
    said = text ? JSON.parse(text) : {};
  } catch (error) {
    throw new Error(`More of the spec is no JSON: ${error.message}`);
  }
  if (said === null || typeof said !== "object" || Array.isArray(said)) throw new Error("More of the spec is no JSON object.");
  return said;
}

const isNew = () => !models.includes(at("model").value.trim());

/** Say whether one of the workers that are alive may take what is asked for. */
function ask() {
  const workers = [...document.querySelectorAll("#workers li")].map((one) => one.dataset);
  const wanted = value("device"), memory = Number(value("min_memory_mib"));
  at("nobody").hidden = workers.some((has) => ["any", has.device].includes(wanted) && memory <= Number(has.memory));
}

function say(text) {
  at("wrong").textContent = text;
  at("wrong").hidden = !text;
}

/** Send a form; how much was sent is told meanwhile, the answer is returned whatever it says. */
function send(path, parts, headers = {}) {
  const form = new FormData();
  for (const [name, value] of Object.entries(parts)) form.append(name, value);
  return new Promise((done, failed) => {
    const request = new XMLHttpRequest();
    request.open("POST", path);
    for (const [name, value] of Object.entries({ ...sessionHeaders(), ...headers })) {
      request.setRequestHeader(name, value);
    }
    request.upload.addEventListener("progress", ({ loaded, total }) => {
      at("sent").hidden = loaded === total;
      at("sent").value = total ? loaded / total : 0;
    });
    request.addEventListener("loadend", () => {
      at("sent").hidden = true;
      if (request.status) done(answered(request));
      else failed(new Error("The service does not answer."));
    });
    request.send(form);
  });
}

/** Return what an answer says, or raise why it was refused. */
function answered(request) {
  if (request.status === 401) logIn();
  let said = {};
  try {
    said = JSON.parse(request.responseText);
  } catch {
    said = { title: `The service answers ${request.status}.` };
  }
  if (request.status < 300) return said;
  const faults = (said.errors ?? []).slice(0, 5).map((one) => [one.field, one.class, one.message].filter(Boolean).join(" "));
  return Promise.reject(new Error([said.detail || said.title, ...faults].join(" · ")));
}

async function take() {
  const file = at("file").files[0], mine = begin();
  at("upload").value = "";
  at("file").required = true;
  if (!file) return;
  if (file.size > Number(at("task").dataset.most)) return say("The file is larger than the service takes.");
  if (!at("name").value) at("name").value = file.name.replace(/\.zip$/i, "").slice(0, 200);
  try {
    const sent = await send("/uploads", { dataset: file });
    if (mine !== turn) return undefined;
    upload = sent.upload;
    at("post").disabled = false;
    await look();
  } catch (error) {
    if (mine === turn) say(error.message);
  }
  return undefined;
}

/** Forget what was there before; return the number of what is looked at from now on. */
function begin() {
  upload = null;
  say("");
  at("found").replaceChildren();
  at("post").disabled = true;
  return (turn += 1);
}

/** Take what was sent before. */
async function choose() {
  begin();
  const chosen = at("upload").selectedOptions[0];
  at("file").required = !chosen.value;
  if (!chosen.value) return;
  at("file").value = "";
  if (!at("name").value) at("name").value = (chosen.dataset.name ?? "").replace(/\.zip$/i, "").slice(0, 200);
  upload = chosen.value;
  at("post").disabled = false;
  await look();
}

async function look() {
  const mine = turn, asked = new URLSearchParams({ model: at("model").value.trim() });
  if (!upload) return;
  at("found").textContent = "Looking into it …";
  try {
    const answer = await askPart(`/ui/uploads/${encodeURIComponent(upload)}?${asked}`);
    const text = await answer.text();
    if (answer.status === 401) return undefined;
    if (mine !== turn) return undefined;
    show(at("found"), text);
    await plan();
  } catch {
    if (mine === turn) at("found").textContent = "The service does not answer.";
  }
  return undefined;
}

/** Show what was found; of a page that says why it was refused, what it says. */
function show(place, text) {
  const told = new DOMParser().parseFromString(text, "text/html");
  place.replaceChildren(...(told.querySelector("main") ?? told.body).children);
  window.htmx.process(place);
}

/** Say how a task with what is asked for now would learn, and how long; its name does not matter. */
async function plan() {
  const place = at("schedule"), mine = (planned += 1);
  if (!place) return undefined;
  try {
    const asked = new URLSearchParams({ spec: JSON.stringify({ ...spec(), name: "a task" }), pictures: place.dataset.pictures });
    const answer = await askPart(`/ui/schedule?${asked}`);
    const text = await answer.text();
    if (answer.status === 401) return undefined;
    if (mine === planned) show(place, text);
  } catch (error) {
    if (mine === planned) place.textContent = error instanceof TypeError ? "The service does not answer." : error.message;
  }
  return undefined;
}

/** Return the same key for the same task: what was posted without an answer is not posted twice. */
function onceKey(text) {
  const of = `${upload} ${text}`;
  if (once.of !== of) once = { of, key: crypto.getRandomValues(new Uint32Array(4)).join("-") };
  return once.key;
}

async function post() {
  at("post").disabled = true;
  say("");
  try {
    const text = JSON.stringify(spec());
    const task = await send("/tasks", { spec: text, upload }, { "Idempotency-Key": onceKey(text) });
    location.assign(`/ui/tasks/${task.id}`);
  } catch (error) {
    say(error.message);
    at("post").disabled = false;
  }
}

at("file").addEventListener("change", take);
at("upload").addEventListener("change", choose);
at("model").addEventListener("change", look);
for (const id of ["method", "epochs", "more"]) at(id).addEventListener("change", plan);
for (const id of ["device", "min_memory_mib"]) at(id).addEventListener("input", ask);
at("model").addEventListener("input", () => {
  at("new-model").hidden = !isNew();
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
      take();
    }
  });
}
if (at("upload").value) choose();
