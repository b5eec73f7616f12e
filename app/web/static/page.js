// What every page needs: times as people say them, dialogs, and forms that call the API.

/** Headers that let the browser's session change something. */
export function sessionHeaders() {
  const token = document.querySelector('meta[name="page-token"]');
  return token ? { "X-CSRF-Token": token.content } : {};
}

/** Go to the login, and come back here. */
export function logIn() {
  location.assign(`/login?${new URLSearchParams({ next: location.pathname + location.search })}`);
}

/**
 * Ask for a part of a page as htmx does: who has to log in is told so, and not sent the login's page.
 *
 * They are led there; whoever asks has the answer, a 401, all the same.
 */
export async function askPart(url) {
  const answer = await fetch(url, { headers: { "HX-Request": "true" } });
  if (answer.status === 401) logIn();
  return answer;
}

const STEPS = [[60, "second"], [60, "minute"], [24, "hour"], [7, "day"], [5, "week"], [12, "month"], [Infinity, "year"]];
const RELATIVE = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const WHOLE = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

function ago(when) {
  let span = (when - Date.now()) / 1000;
  if (Math.abs(span) < 10) return "just now";
  for (const [many, unit] of STEPS) {
    if (Math.abs(span) < many) return RELATIVE.format(Math.round(span), unit);
    span /= many;
  }
  return "";
}

function tellTimes() {
  for (const one of document.querySelectorAll("time[datetime]")) {
    const when = new Date(one.dateTime);
    one.textContent = ago(when);
    one.title = WHOLE.format(when);
  }
}

/** Say something at the bottom of the page, or in the dialog that is open. */
function tell(form, text) {
  const place = form.closest("dialog")?.querySelector(".wrong") ?? document.getElementById("told");
  place.textContent = text;
  place.hidden = false;
}

/** Ask the API for a form, whose buttons are off meanwhile; what is refused is told, and nothing returned. */
export async function ask(form, { action, method = "POST", body, ifMatch }) {
  const headers = sessionHeaders();
  if (typeof body === "string") headers["Content-Type"] = "application/json";
  if (ifMatch) headers["If-Match"] = ifMatch;
  const buttons = form.querySelectorAll("button");
  for (const one of buttons) one.disabled = true;
  try {
    const answer = await fetch(action, { method, headers, body });
    if (answer.status === 401) return logIn();
    if (answer.ok) return answer;
    tell(form, refusal(answer.status, await answer.json().catch(() => ({}))));
  } catch {
    tell(form, "The service does not answer.");
  }
  for (const one of buttons) one.disabled = false;
  return undefined;
}

function refusal(status, problem) {
  const said = problem.detail || problem.title || `The service answers ${status}.`;
  const faults = (problem.errors ?? []).slice(0, 5).map((one) => one.message).filter((one) => !said.includes(one));
  return [said, ...faults].join(" · ");
}

async function send(form) {
  const { then } = form.dataset;
  if (!(await ask(form, form.dataset))) return;
  if (then) location.assign(then);
  else location.reload();
}

document.addEventListener("submit", (event) => {
  if (event.target.dataset.action) {
    event.preventDefault();
    send(event.target);
  }
});

document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-dialog]");
  if (opener) document.getElementById(opener.dataset.dialog).showModal();
  const closer = event.target.closest("[data-close]");
  if (closer) closer.closest("dialog").close();
});

document.addEventListener("htmx:afterSettle", tellTimes);
document.addEventListener("htmx:responseError", () => {
  const place = document.getElementById("told");
  place.textContent = "The page could not be brought up to date.";
  place.hidden = false;
});
tellTimes();
setInterval(tellTimes, 20_000);
