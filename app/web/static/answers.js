// What the service answers about a picture.

import { readArrays } from "./npz.js";

/** A request that was refused: `needsKey` where a key would help. */
export class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `the service answers ${status}`);
    this.needsKey = status === 401 || (problem.type || "").endsWith("local-callers-only");
  }
}

/** Return what a version sees: {version, width, height, labels, scores, classes}. */
export async function segment(picture, model, version, key) {
  const asked = new URLSearchParams({ model });
  if (version) asked.set("version", version);
  const headers = key ? { Authorization: `Bearer ${key}` } : {};
  const answer = await fetch(`/segment?${asked}`, {
    method: "POST",
    body: picture,
    headers: { ...headers, Accept: "application/x-npz", "Content-Type": picture.type || "image/png" },
  });
  await check(answer);
  const number = answer.headers.get("X-Sats-Version");
  const { labels, scores } = await readArrays(await answer.arrayBuffer());
  asked.set("version", number);
  const learned = await fetch(`/classes?${asked}`, { headers });
  await check(learned);
  const { classes } = await learned.json();
  const [height, width] = labels.shape;
  return { version: number, width, height, labels: labels.data, scores: scores.data, classes };
}

async function check(answer) {
  if (!answer.ok) throw new Refused(answer.status, await answer.json().catch(() => ({})));
}

/** Return the shell command that asks for what is shown, as a picture. */
export function command(name, model, version, withKey) {
  const asked = new URLSearchParams({ model, ...(version ? { version } : {}) });
  return [
    "curl -s -H 'Accept: image/png; profile=overlay'",
    ...(withKey ? ['-H "Authorization: Bearer $SATS_API_KEY"'] : []),
    `-F ${quoted(`pictures=@${name}`)} -o overlay.png`,
    quoted(`${location.origin}/segment?${asked}`),
  ].join(" \\\n  ");
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
