// Before anything is asked: the largest categories, each with the photo of a product, as examples.

import { go } from "./address.js";
import { call, Latest } from "./api.js";
import { find, number, part } from "./dom.js";
import { showPhoto } from "./photos.js";

const EXAMPLES = 8;
const start = find("#start");
const list = find("#start-examples");
const latest = new Latest();
let facets = null;

export function showStart() {
  start.hidden = false;
  if (facets && !list.childElementCount) fill();
}

export function leaveStart() {
  start.hidden = true;
  latest.cancel();
}

/** Tells what the shop has. */
export function offer(known) {
  facets ??= known;
  if (!start.hidden) showStart();
}

async function fill() {
  const values = (facets.columns.find(({ name }) => name === "category") ?? facets.columns[0])?.values ?? [];
  const examples = values.slice(0, EXAMPLES).map(({ value, count }) => {
    const example = part("example");
    find(".example-name", example).textContent = value;
    find("small", example).textContent = number(count);
    find("button", example).addEventListener("click", () => go({ q: value }));
    return [value, example];
  });
  list.replaceChildren(...examples.map(([, example]) => example));
  for (const [text, example] of examples) {
    // One after another, so that a search that somebody types has the server to itself.
    const answer = await latest.run((signal) => call("v1/search", { json: { text, limit: 5 }, signal })).catch(() => null);
    if (!answer) return;
    showPhoto(find(".picture", example), [answer.hits.find(({ photo }) => photo)?.photo], "");
  }
}
