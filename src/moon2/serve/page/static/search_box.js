// The words and the photo of a search: typed, dropped, pasted or picked.

import { go, read } from "./address.js";
import { find } from "./dom.js";

/** So long nothing is typed before the search starts, in milliseconds. */
const PAUSE = 120;
const words = find("#words");
const file = find("#photo-file");
const preview = find("#photo-preview");
const remove = find("#photo-remove");
const drop = find("#drop");
const photos = new Map();
let typing = null;
let stepMade = false;

/** The photo of a state; undefined where another visit to the page had it. */
export const photoOf = ({ photo }) => photos.get(photo)?.file;

/** Shows a state's words and photo in the box. */
export function showSearch(state) {
  // What is typed keeps its spaces: one at the end stands before the next word.
  if (words.value.trim() !== state.q && (document.activeElement !== words || !typing)) words.value = state.q;
  const photo = photos.get(state.photo);
  preview.hidden = remove.hidden = !photo;
  if (photo) preview.src = photo.address;
  words.placeholder = photo ? "Say what shall be different" : "Type, or drop a photo";
}

function takeTyped() {
  clearTimeout(typing);
  typing = null;
  const q = words.value.trim();
  if (q === read().q) return;
  // One step for Back however many letters are typed in a row.
  go({ q, like: "" }, { replace: stepMade });
  stepMade = true;
}

words.addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(takeTyped, PAUSE);
});
words.addEventListener("blur", () => {
  if (typing) takeTyped();
  stepMade = false;
});
addEventListener("popstate", () => (stepMade = false));
words.addEventListener("keydown", (event) => {
  if (event.key === "ArrowDown") {
    const first = find(".column:not([hidden]) .card-link[tabindex='0']");
    if (first) {
      event.preventDefault();
      first.focus();
    }
  } else if (event.key === "Escape" && !words.value && read().photo) takePhoto(null);
});
find("#search").addEventListener("submit", (event) => {
  event.preventDefault();
  if (words.value.trim() !== read().q) takeTyped();
  else go({}, { replace: true }); // asks again for what failed
  stepMade = false;
});

/** Searches with a photo, or without the present one. */
export function takePhoto(taken) {
  if (!taken) {
    go({ photo: "" });
    words.focus();
    return;
  }
  const name = Date.now().toString(36);
  photos.set(name, { file: taken, address: URL.createObjectURL(taken) });
  go({ photo: name, like: "", product: "", why: "" });
}

find("#photo-pick").addEventListener("click", () => file.click());
remove.addEventListener("click", () => takePhoto(null));
file.addEventListener("change", () => {
  if (file.files[0]) takePhoto(file.files[0]);
  file.value = "";
});

const imageIn = (data) => [...(data?.files ?? [])].find((one) => one.type.startsWith("image/"));

addEventListener("paste", (event) => {
  const image = imageIn(event.clipboardData);
  if (!image) return;
  event.preventDefault();
  takePhoto(image);
});

let over = 0;
const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
addEventListener("dragenter", (event) => {
  if (!hasFiles(event)) return;
  over += 1;
  drop.hidden = false;
});
addEventListener("dragleave", (event) => {
  if (!hasFiles(event)) return;
  over -= 1;
  if (over <= 0) drop.hidden = true;
});
addEventListener("dragover", (event) => {
  if (hasFiles(event)) event.preventDefault();
});
addEventListener("drop", (event) => {
  if (!hasFiles(event)) return;
  event.preventDefault();
  over = 0;
  drop.hidden = true;
  const image = imageIn(event.dataTransfer);
  if (image) takePhoto(image);
  else find("#status").textContent = "That is not a photo.";
});

addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.target.matches("input, dialog *")) return;
  event.preventDefault();
  words.focus();
  words.select();
});
