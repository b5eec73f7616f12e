// What the service answers about a picture.

import { readArrays } from "./npz.js";
import { logIn, sessionHeaders } from "./page.js";

/** Return what a version sees: {version, width, height, labels, scores, classes}. */
export async function segment(picture, model, version) {
  const asked = new URLSearchParams({ model });
  if (version) asked.set("version", version);
  const answer = await fetch(`/segment?${asked}`, {
    method: "POST",
    body: picture,
    headers: {
      ...sessionHeaders(),
      Accept: "application/x-npz",
      "Content-Type": picture.type || "image/png",
    },
  });
  await check(answer);
  const number = answer.headers.get("X-Sats-Version");
  const { labels, scores } = await readArrays(await answer.arrayBuffer());
  asked.set("version", number);
  const learned = await fetch(`/classes?${asked}`);
  await check(learned);
  const { classes } = await learned.json();
  const [height, width] = labels.shape;
  return { version: number, width, height, labels: labels.data, scores: scores.data, classes };
}

async function check(answer) {
  if (answer.status === 401) logIn();
  if (answer.ok) return;
  const problem = await answer.json().catch(() => ({}));
  throw new Error(problem.detail || problem.title || `the service answers ${answer.status}`);
}

/** Return the shell command that asks for what is shown, as a picture. */
export function command(name, model, version, withKey) {
  const asked = new URLSearchParams({ model, ...(version ? { version } : {}) });
  return [
    "curl -s -H 'Accept: image/png; profile=overlay'",
    ...(withKey ? ['-H "Authorization: Bearer $SATS_API_KEY"'] : []),
    // In curl's own quotes too: a comma or semicolon would begin another file or a type.
    `-F ${quoted(`pictures=@"${name.replaceAll(/["\\]/g, "\\$&")}"`)} -o overlay.png`,
    quoted(`${location.origin}/segment?${asked}`),
  ].join(" \\\n  ");
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
