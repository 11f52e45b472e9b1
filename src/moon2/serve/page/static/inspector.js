// A product in a dialog of its own address: its data, photos, augmentations, predicted labels and neighbours, and why
// it was found.

import { go, leaveProduct, read, write } from "./address.js";
import { call, Latest } from "./api.js";
import { element, find, part, price, readable, showMessage } from "./dom.js";
import { load, showPhoto } from "./photos.js";
import { showWhy } from "./why.js";

const NEIGHBOURS = 12;
const dialog = find("#inspector");
const body = find("#inspector-body");
const title = find("#inspector-title");
const latest = new Latest();
let shown = "";

/** Opens the product of a state, or closes what is open. `hitOf(index, id)` is the hit of a search, if there is one. */
export async function showProduct(state, hitOf) {
  const wanted = state.product && JSON.stringify([state.product, state.of]);
  if (wanted === shown && wanted) {
    if (state.why) goToWhy();
    return;
  }
  shown = wanted;
  latest.cancel();
  if (!wanted) {
    // The browser gives the focus back to where it was. A listener of "close" would do so too late: it would take the
    // focus from where a quick user has gone since.
    if (dialog.open) dialog.close();
    return;
  }
  title.textContent = "…";
  body.replaceChildren();
  body.setAttribute("aria-busy", "true");
  if (!dialog.open) dialog.showModal();
  title.focus();
  dialog.scrollTop = 0;
  const address = `v1/products/${encodeURIComponent(state.product)}`;
  try {
    const product = await latest.run((signal) => call(`${address}?index=${state.of}`, { signal }));
    if (!product) return;
    fill(product, address, state, hitOf(state.of, product.id));
  } catch (error) {
    title.textContent = state.product;
    body.replaceChildren(element("p", error.message, "message"));
  }
  body.removeAttribute("aria-busy");
}

function goToWhy() {
  const heading = find("#why-heading", body);
  heading?.focus({ preventScroll: true });
  heading?.scrollIntoView();
}

function fill(product, address, state, hit) {
  const content = part("product");
  title.textContent = product.title || product.id;
  const large = find(".picture.large", content);
  const photos = product.images;
  showPhoto(large, [photos[0], product.photo], product.title || product.id);
  fillStrip(find(".strip", content), photos, large);
  find(".inspector-category", content).textContent = product.category.join(" › ");
  find(".inspector-price", content).textContent = price(product.price);
  find(".inspector-description", content).textContent = product.description;
  fillTerms(find(".inspector-data .attributes", content), [...Object.entries(product.attributes), ["id", product.id]]);
  find(".like", content).addEventListener("click", () => go({ like: product.id, q: "", photo: "", product: "", of: "0", why: "" }));
  fillAugmentations(find(".inspector-augmented", content), product);
  find(".predict", content).addEventListener("click", (event) => predict(event.target, `${address}?predict=1&index=${state.of}`));
  if (hit) showWhy(find(".inspector-why", content), state, hit);
  body.replaceChildren(content);
  if (state.why) goToWhy();
  showNeighbours(find(".inspector-near", body), `${address}/similar?limit=${NEIGHBOURS}&index=${state.of}`);
}

function fillStrip(strip, photos, large) {
  strip.hidden = photos.length < 2;
  if (strip.hidden) return;
  strip.append(
    ...photos.map((address, at) => {
      const button = document.createElement("button");
      button.type = "button";
      button.setAttribute("aria-label", `Photo ${at + 1} of ${photos.length}`);
      const image = document.createElement("img");
      image.alt = "";
      load(image, address);
      button.append(image);
      button.addEventListener("click", () => showPhoto(large, [address], `Photo ${at + 1}`));
      const item = document.createElement("li");
      item.append(button);
      return item;
    }),
  );
}

function fillTerms(list, pairs) {
  list.replaceChildren(...pairs.flatMap(([name, value]) => [element("dt", readable(name)), element("dd", value)]));
}

function fillAugmentations(section, { augmentations }) {
  if (!augmentations) return;
  section.hidden = false;
  const { enriched_title: enriched, images = [], provenance = {} } = augmentations;
  const pairs = [...(enriched ? [["richer title", enriched]] : []), ...Object.entries(provenance)];
  fillTerms(find("dl", section), pairs);
  find(".strip", section).append(
    ...images.map((address, at) => {
      const item = document.createElement("li");
      const image = document.createElement("img");
      image.alt = `Made photo ${at + 1}`;
      load(image, address);
      item.append(image);
      return item;
    }),
  );
}

async function predict(button, address) {
  const section = button.closest("section");
  const message = find(".message", section);
  button.disabled = true;
  try {
    const { predicted } = await call(address);
    const pairs = Object.entries(predicted ?? {}).map(([name, labels]) => [name, labels.map(labelText).join(", ")]);
    fillTerms(find("dl", section), pairs);
    showMessage(message, pairs.length ? "" : "Nothing can be predicted of it.");
    button.hidden = true;
  } catch (error) {
    showMessage(message, error.message);
    button.disabled = false;
  }
}

const percent = new Intl.NumberFormat(undefined, { style: "percent" });
const labelText = ({ value, probability }) => `${value} (${percent.format(probability)})`;

async function showNeighbours(section, address) {
  const list = find(".neighbours", section);
  list.replaceChildren(...Array.from({ length: 6 }, () => part("skeleton")));
  try {
    const { hits } = await call(address);
    list.replaceChildren(...hits.map(neighbour));
    showMessage(find(".message", section), hits.length ? "" : "There are no others.");
  } catch (error) {
    list.replaceChildren();
    showMessage(find(".message", section), error.message);
  }
}

function neighbour(hit) {
  const item = part("neighbour");
  const link = find("a", item);
  const there = { product: hit.id, why: "" };
  link.href = write({ ...read(), ...there });
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    go(there);
  });
  showPhoto(find(".picture", item), [hit.photo], "");
  find(".card-title", item).textContent = hit.title || hit.id;
  find("small", item).textContent = `cosine ${hit.cosine.toFixed(3)}`;
  return item;
}

find("#inspector-close").addEventListener("click", leaveProduct);
dialog.addEventListener("cancel", (event) => {
  event.preventDefault();
  leaveProduct();
});
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) leaveProduct();
});
