// Results as a gallery. It is one stop of the Tab key; arrow keys move within it, and only the product that has the
// focus has its two buttons in the order of Tab.

import { go, read, write } from "./address.js";
import { all, find, number, part, price, showMessage } from "./dom.js";
import { showPhoto } from "./photos.js";

const SKELETONS = 12;

/** One column: the results of one index. */
export class Gallery {
  /** @param {HTMLElement} section */
  constructor(section) {
    this.index = section.dataset.index;
    this.section = section;
    this.list = find(".gallery", section);
    this.message = find(".message", section);
    this.more = find(".more", section);
    this.note = find(".column-name small", section);
    this.hits = [];
    this.list.addEventListener("keydown", (event) => this.#move(event));
    this.list.addEventListener("focusin", (event) => this.#enter(event.target.closest(".card")));
  }

  /** Shows that an answer is awaited: skeletons where there was nothing, else the old results, paler. */
  wait() {
    this.section.setAttribute("aria-busy", "true");
    this.message.hidden = true;
    if (!this.list.childElementCount) this.list.append(...Array.from({ length: SKELETONS }, () => part("skeleton")));
  }

  /** Empties it, with a message or without. */
  clear(message = "") {
    this.section.removeAttribute("aria-busy");
    this.hits = [];
    this.list.replaceChildren();
    this.more.hidden = true;
    this.note.textContent = "";
    showMessage(this.message, message);
  }

  /** @param ranks rank of each product in the other column, or null where there is none. */
  show(hits, { none, more, ranks, note }) {
    this.section.removeAttribute("aria-busy");
    const known = new Map(all(".card[data-id]", this.list).map((card) => [card.dataset.id, card]));
    const cards = hits.map((hit, at) => this.#card(known.get(hit.id) ?? this.#newCard(hit), hit, at, ranks));
    const current = cards.find((card) => card.contains(document.activeElement)) ?? cards[0];
    this.hits = hits;
    this.list.replaceChildren(...cards);
    if (current) this.#enter(current);
    this.more.hidden = !more;
    this.note.textContent = note;
    showMessage(this.message, hits.length ? "" : none);
  }

  #newCard(hit) {
    const card = part("card");
    card.dataset.id = hit.id;
    const opens = (changes) => (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
      event.preventDefault();
      go(changes);
    };
    const here = { product: hit.id, of: this.index, why: "" };
    find(".card-link", card).addEventListener("click", opens(here));
    find(".why", card).addEventListener("click", opens({ ...here, why: "yes" }));
    find(".like", card).addEventListener("click", opens({ like: hit.id, q: "", photo: "" }));
    return card;
  }

  #card(card, hit, at, ranks) {
    const name = hit.title || hit.id;
    const link = find(".card-link", card);
    link.href = write({ ...read(), product: hit.id, of: this.index, why: "" });
    showPhoto(find(".picture", card), [hit.photo], "");
    find(".card-title", card).textContent = name;
    find(".card-price", card).textContent = price(hit.price);
    find(".card-category", card).textContent = hit.category.at(-1) ?? "";
    const there = ranks?.get(hit.id);
    find(".card-there", card).textContent = ranks ? `#${at + 1}, ${there ? `#${there}` : "not shown"} in the other` : "";
    find(".card-scores", card).textContent = [`cosine ${hit.cosine.toFixed(3)}`, rankText(hit)].filter(Boolean).join(" · ");
    find(".like", card).setAttribute("aria-label", `More like ${name}`);
    find(".why", card).setAttribute("aria-label", `Why ${name} is here`);
    return card;
  }

  #enter(card) {
    if (!card) return;
    for (const one of all("[tabindex='0']", this.list)) one.tabIndex = -1;
    for (const one of all("a, button", card)) one.tabIndex = 0;
  }

  #move(event) {
    const cards = all(".card[data-id]", this.list);
    const at = cards.indexOf(event.target.closest(".card"));
    if (at < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    const columns = cards.filter((card) => card.offsetTop === cards[0].offsetTop).length;
    const to = {
      ArrowRight: at + 1, ArrowLeft: at - 1, ArrowDown: at + columns, ArrowUp: at - columns, Home: 0, End: cards.length - 1,
    }[event.key];
    if (event.key === "Escape" || (event.key === "ArrowUp" && to < 0)) {
      event.preventDefault();
      find("#words").focus();
    } else if (to !== undefined) {
      event.preventDefault();
      const next = cards[Math.max(0, Math.min(to, cards.length - 1))];
      find(".card-link", next).focus();
    }
  }
}

/** Both ranks of a hit in words. */
export function rankText(hit) {
  const ranks = [];
  if (hit.exact) ranks.push(`its very ${hit.exact}`);
  if (hit.vector_rank) ranks.push(`vectors #${number(hit.vector_rank)}`);
  if (hit.word_rank) ranks.push(`words #${number(hit.word_rank)}`);
  return ranks.join(" · ");
}
