// Held-out pictures of the service, with their labels.

async function load(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`The picture cannot be shown: ${answer.status}.`);
  return answer.blob();
}

/** Return a held-out picture as bytes, and as the browser draws it. */
export async function sample(url) {
  const blob = await load(`${url}/picture`);
  return { blob, picture: await createImageBitmap(blob) };
}

/** Return its labels in colours. */
export const truth = async (url) => createImageBitmap(await load(`${url}/truth`));
