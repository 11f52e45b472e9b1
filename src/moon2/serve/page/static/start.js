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
/** Examples that have no photo yet, by what they search for. */
const waiting = new Map();

export function showStart() {
  start.hidden = false;
  if (!facets) return;
  if (!list.childElementCount) fill();
  addPhotos();
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

function fill() {
  const values = (facets.columns.find(({ name }) => name === "category") ?? facets.columns[0])?.values ?? [];
  for (const { value, count } of values.slice(0, EXAMPLES)) {
    const example = part("example");
    find(".example-name", example).textContent = value;
    find("small", example).textContent = number(count);
    find("button", example).addEventListener("click", () => go({ q: value }));
    list.append(example);
    waiting.set(value, example);
  }
}

async function addPhotos() {
  for (const [text, example] of waiting) {
    // One after another, so that a search that somebody types has the server to itself.
    const answer = await latest.run((signal) => call("v1/search", { json: { text, limit: 5 }, signal })).catch(() => null);
    if (answer === undefined) return; // the start page was left; it goes on from here when it is shown again
    if (!answer) continue;
    waiting.delete(text);
    showPhoto(find(".picture", example), [answer.hits.find(({ photo }) => photo)?.photo], "");
  }
}
