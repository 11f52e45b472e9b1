// A search: asked of the server, and shown in one gallery, or in two beside each other.

import { read, searchKey } from "./address.js";
import { call, Latest } from "./api.js";
import { all, count, find, number } from "./dom.js";
import { chosen, showChips, whereOf } from "./filters.js";
import { Gallery } from "./gallery.js";
import { photoOf } from "./search_box.js";
import { leaveStart, showStart } from "./start.js";

const PAGE = 24;
/** Hits of one request, and the last hit that a search can be paged to. */
const MOST = 192;
const LAST = 1000;
/** An answer that takes longer is announced by skeletons, in milliseconds. */
const SLOW = 150;

const galleries = all(".column").map((section) => new Gallery(section));
const status = find("#status");
const name = document.title;
const latest = new Latest();
const titles = new Map();
let shownKey = null;
/** Hits of the search that is shown that were asked for and answered. */
let reached = 0;

/** The hit of a product in the results of an index, if it is among them. */
export const hitOf = (index, id) => galleries[Number(index)]?.hits.find((hit) => hit.id === id);

const galleriesOf = ({ index }) => (index === "both" ? galleries : [galleries[Number(index)] ?? galleries[0]]);

/** Words of a search; where there are filters alone, what they say. */
const wordsOf = ({ q, photo, like, filters }) => q || (photo || like ? "" : Object.values(filters).flat().join(" "));

/** Shows what a state asks for, unless it is there already. */
export async function showResults(state) {
  const key = searchKey(state);
  if (key === shownKey) return;
  shownKey = key;
  reached = 0;
  const words = wordsOf(state);
  const isAsked = Boolean(words || state.photo || state.like);
  showHead(state, words, titles.get(state.like) ?? state.like);
  for (const gallery of galleries) gallery.section.hidden = !isAsked || !galleriesOf(state).includes(gallery);
  find(".bar").hidden = !isAsked && !chosen(state).length;
  if (!isAsked) {
    empty("", find(".bar").hidden ? "" : "Now say in words or with a photo what to look for.");
    showStart();
    return;
  }
  leaveStart();
  if (state.photo && !photoOf(state)) {
    empty("The photo of this search is not here any more. Drop it, paste it or pick it again.");
    return;
  }
  const titled = state.like && nameLiked(state);
  await ask(state, words);
  await titled;
}

function showHead(state, words, liked) {
  showChips([...(state.like ? [{ text: `like ${liked}`, without: { like: "" } }] : []), ...chosen(state)]);
  const asked = words || (state.photo ? "Photo" : state.like && `Like ${liked}`);
  document.title = asked ? `${asked} – ${name}` : name;
}

/** Puts a product's title in the place of its id, once it is known. */
async function nameLiked(state) {
  if (titles.has(state.like)) return;
  const index = galleriesOf(state)[0].index;
  const product = hitOf(index, state.like) ?? (await call(`v1/products/${encodeURIComponent(state.like)}?index=${index}`).catch(() => null));
  if (product) titles.set(state.like, product.title || state.like);
  if (searchKey(read()) === searchKey(state)) showHead(state, "", titles.get(state.like) ?? state.like);
}

function empty(message, said = "") {
  latest.cancel();
  galleries.forEach((gallery) => gallery.clear());
  galleriesOf(read())[0].clear(message);
  status.textContent = said;
}

/** Asks for the first hits, or for those that come after `from`, and shows them after the others. */
async function ask(state, words, from = 0) {
  const shown = galleriesOf(state);
  const limit = from ? Math.min(from, MOST, LAST - from) : PAGE;
  const page = ({ index }) => ({ limit, offset: from, index: Number(index) });
  const slow = setTimeout(() => {
    shown.forEach((gallery) => gallery.wait());
    status.textContent = "Searching…";
  }, SLOW);
  let answers;
  try {
    answers = await latest.run((signal) =>
      Promise.all(shown.map((gallery) => call("v1/search", { ...bodyOf(state, words, page(gallery)), signal }))),
    );
  } catch (error) {
    if (from) {
      shown.forEach((gallery) => gallery.section.removeAttribute("aria-busy"));
      status.textContent = error.message;
    } else {
      shownKey = null; // so that the same search can be asked again
      empty(error.message);
    }
    return;
  } finally {
    clearTimeout(slow);
  }
  if (!answers) return;
  reached = from + limit;
  const lists = answers.map(({ hits }, at) => (from ? joined(shown[at].hits, hits) : hits));
  const ranks = lists.map((hits) => new Map(hits.map((hit, at) => [hit.id, at + 1])));
  shown.forEach((gallery, at) => {
    const { hits, took_ms: took, index } = answers[at];
    gallery.show(lists[at], {
      none: noneText(state),
      more: hits.length === limit && reached < LAST,
      ranks: shown.length > 1 ? ranks[1 - at] : null,
      note: `${count(index.products, "product")}, ${Math.round(took)} ms`,
    });
  });
  status.textContent = saidOf(state, answers, lists[0].length);
}

/** A page after those before; a product that has moved meanwhile stays where it was. */
const joined = (before, hits) => [...before, ...hits.filter(({ id }) => !before.some((hit) => hit.id === id))];

/** How many are shown, and of how many; how many pass a filter the search does not tell. */
function saidOf(state, [{ took_ms: took, index }, ...others], shown) {
  const isCut = shown === reached && reached < index.products;
  const found = isCut ? `The first ${count(shown, "product")}` : count(shown, "product");
  if (others.length) return `${found} of each index`;
  return `${found}${chosen(state).length ? "" : ` of ${number(index.products)}`}, in ${Math.round(took)} ms`;
}

function bodyOf(state, words, asked) {
  if (state.like) asked.like = state.like;
  else if (words) asked.text = words;
  const where = whereOf(state);
  if (where) asked.where = where;
  const photo = state.like ? undefined : photoOf(state);
  if (!photo) return { json: asked };
  const body = new FormData();
  for (const [field, value] of Object.entries(asked)) body.append(field, value);
  body.append("image", photo);
  return { body };
}

const noneText = (state) =>
  chosen(state).length
    ? "Nothing passes these filters. Remove one of them above."
    : "Nothing was found. Try other words, or a photo.";

for (const gallery of galleries) {
  gallery.more.addEventListener("click", () => ask(read(), wordsOf(read()), reached));
}
