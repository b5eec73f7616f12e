// Held-out pictures of the service, with their labels.

import { askPart } from "./page.js";

async function load(url) {
  const answer = await askPart(url);
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

/** Return its labels as the indices of the version's classes; 0 is background, 255 is ignored. */
export async function labels(url) {
  const image = await createImageBitmap(await load(`${url}/labels`), { colorSpaceConversion: "none" });
  const context = new OffscreenCanvas(image.width, image.height).getContext("2d");
  context.drawImage(image, 0, 0);
  const { data } = context.getImageData(0, 0, image.width, image.height);
  return Uint8Array.from({ length: data.length / 4 }, (_, at) => data[4 * at]);
}
