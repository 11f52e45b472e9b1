// Facets: what a column holds and how often. Values of one column are alternatives; columns narrow each other.

import { call, Latest } from "./api.js";
import { go, read } from "./address.js";
import { all, element, find, number, part, price, readable } from "./dom.js";

const SHOWN = 7;
const latest = new Latest();
const form = find("#filters");
const open = new Set();
/** Limits of the price that are typed and not yet in the address. */
let typed = {};
/** Settled while no button of a mouse, and no finger, is held on the filters. */
let released = Promise.resolve();
let release = () => {};

const literal = (text) => `'${text.replaceAll("'", "''")}'`;

/** The filter as SQL; `except` leaves a column out. */
export function whereOf({ filters, min, max }, except = "") {
  const parts = Object.entries(filters)
    .filter(([column]) => column !== except)
    .map(([column, values]) => `\`${column}\` IN (${values.map(literal).join(", ")})`);
  if (except !== "price") {
    if (isPrice(min)) parts.push(`price >= ${Number(min)}`);
    if (isPrice(max)) parts.push(`price <= ${Number(max)}`);
  }
  return parts.join(" AND ");
}

const isPrice = (typed) => typed.trim() !== "" && Number.isFinite(Number(typed)) && Number(typed) >= 0;

/** What the filters say in words, each with the change that removes it. */
export function chosen({ filters, min, max }) {
  const chips = Object.entries(filters).flatMap(([column, values]) =>
    values.map((value) => ({ text: `${readable(column)}: ${value}`, without: { filters: toggled(filters, column, value) } })),
  );
  if (isPrice(min)) chips.push({ text: `from ${price(Number(min))}`, without: { min: "" } });
  if (isPrice(max)) chips.push({ text: `up to ${price(Number(max))}`, without: { max: "" } });
  return chips;
}

function toggled(filters, column, value) {
  const now = filters[column] ?? [];
  const then = now.includes(value) ? now.filter((one) => one !== value) : [...now, value];
  const { [column]: _, ...others } = filters;
  return then.length ? { ...others, [column]: then } : others;
}

/** Asks for the counts and shows them. A column's own choice does not narrow its counts. */
export async function showFilters(state) {
  const index = state.index === "both" ? "0" : state.index;
  const facets = (where, signal) => call(`v1/facets?${new URLSearchParams({ index, ...(where && { where }) })}`, { signal });
  const columns = Object.keys(state.filters);
  const answers = await latest.run(async (signal) => {
    const wheres = [whereOf(state), ...[...columns, "price"].map((column) => whereOf(state, column))];
    const found = await Promise.all(wheres.map((where) => facets(where, signal)));
    // What is drawn anew between the press of a button and its release would lose the click.
    await released;
    return found;
  });
  if (!answers) return null;
  const [general, ...own] = answers;
  const values = new Map(general.columns.map((column) => [column.name, column.values]));
  columns.forEach((name, at) => values.set(name, own[at].columns.find((column) => column.name === name)?.values ?? []));
  fill(state, values, own.at(-1).price);
  return general;
}

function fill(state, values, prices) {
  const focused = document.activeElement?.dataset?.facet;
  const sets = [...values].filter(([name, found]) => found.length || state.filters[name]).map(([name, found]) => facet(state, name, found));
  const range = form.querySelector(".price") ?? part("price");
  range.hidden = prices?.min === null || prices?.min === undefined;
  for (const name of ["min", "max"]) {
    const field = find(`[name=${name}]`, range);
    field.placeholder = prices?.[name] === null || prices?.[name] === undefined ? "" : String(prices[name]);
    if (document.activeElement !== field && !(name in typed)) field.value = state[name];
  }
  // The range stays in place, as it may have the focus; the other sets are drawn anew.
  for (const old of all(".facet:not(.price)", form)) old.remove();
  if (range.parentNode !== form) form.append(range);
  range.before(...sets);
  if (focused) all("[data-facet]", form).find((field) => field.dataset.facet === focused)?.focus();
}

function facet(state, name, values) {
  const set = part("facet");
  find("legend", set).textContent = readable(name);
  const picked = state.filters[name] ?? [];
  // Chosen, and too rare here to be among the values that are told.
  const lost = picked.filter((value) => !values.some((one) => one.value === value)).map((value) => ({ value, count: null }));
  const rows = [...lost, ...values].map(({ value, count }, at) => {
    const row = part("facet-value");
    const box = find("input", row);
    box.checked = picked.includes(value);
    box.dataset.facet = `${name} ${value}`;
    box.addEventListener("change", () => go({ filters: toggled(read().filters, name, value) }));
    find("span", row).textContent = value;
    find("small", row).textContent = count === null ? "" : number(count);
    const swatch = find(".swatch", row);
    swatch.hidden = !/^colou?r$/i.test(name);
    // A name that is no colour leaves the swatch empty.
    swatch.style.background = value.toLowerCase().replaceAll(/[^a-z]/g, "");
    row.hidden = at >= SHOWN && !box.checked && !open.has(name);
    return row;
  });
  find("ul", set).append(...rows);
  const more = find(".all", set);
  more.hidden = rows.length <= SHOWN;
  more.dataset.facet = name;
  const label = () => {
    more.textContent = open.has(name) ? "Show fewer" : `Show all ${rows.length}`;
    more.setAttribute("aria-label", `${more.textContent}: ${readable(name)}`);
    more.setAttribute("aria-expanded", String(open.has(name)));
  };
  label();
  more.addEventListener("click", () => {
    open.has(name) ? open.delete(name) : open.add(name);
    rows.forEach((row, at) => (row.hidden = at >= SHOWN && !find("input", row).checked && !open.has(name)));
    label();
  });
  return set;
}

/** Chips that remove what is chosen, one each. */
export function showChips(chips) {
  const list = find("#chips");
  const at = all("button", list).indexOf(document.activeElement);
  list.replaceChildren(
    ...chips.map(({ text, without }) => {
      const chip = part("chip");
      find("span", chip).textContent = text;
      find("button", chip).setAttribute("aria-label", `Remove ${text}`);
      find("button", chip).addEventListener("click", () => go(without));
      return chip;
    }),
  );
  if (chips.length > 1) {
    const clear = element("button", "Clear all", "quiet");
    clear.type = "button";
    clear.addEventListener("click", () => go({ filters: {}, min: "", max: "", like: "", photo: "" }));
    const item = document.createElement("li");
    item.append(clear);
    list.append(item);
  }
  list.hidden = !chips.length;
  if (at >= 0) (all("button", list)[Math.min(at, chips.length - 1)] ?? find("#words")).focus();
}

form.addEventListener("pointerdown", ({ button }) => {
  if (button === 0) released = new Promise((done) => (release = done));
});
// The click itself comes after the release.
for (const end of ["pointerup", "pointercancel"]) addEventListener(end, () => setTimeout(release));

const toggle = find("#filters-toggle");
toggle.addEventListener("click", () => {
  const opened = toggle.getAttribute("aria-expanded") !== "true";
  toggle.setAttribute("aria-expanded", String(opened));
  form.classList.toggle("open", opened);
});

let typing;
function takeTyped() {
  clearTimeout(typing);
  const taken = typed;
  typed = {};
  if (Object.keys(taken).length) go(taken, { replace: true });
}

form.addEventListener("input", ({ target }) => {
  if (target.type !== "number") return;
  clearTimeout(typing);
  typed[target.name] = target.value;
  typing = setTimeout(takeTyped, 300);
});
// Before what is clicked changes the address. On blur would be too early: it comes when a button of the mouse goes down,
// and what is drawn anew before it goes up is not clicked.
addEventListener("click", takeTyped, true);
form.addEventListener("submit", (event) => event.preventDefault());
