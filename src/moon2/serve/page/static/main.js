// The page: what the address says is shown.

import { follow, go, NOTHING, read } from "./address.js";
import { all, find } from "./dom.js";
import { chosen, showFilters } from "./filters.js";
import { showProduct } from "./inspector.js";
import { hitOf, showResults } from "./results.js";
import { showSearch } from "./search_box.js";
import { offer } from "./start.js";

let lastFilters = null;
/** What the status says of filters that could not be had. */
let problem = "";

async function show(state) {
  showSearch(state);
  document.body.classList.toggle("with-scores", Boolean(state.scores));
  find("#scores").setAttribute("aria-pressed", String(Boolean(state.scores)));
  document.body.classList.toggle("side-by-side", state.index === "both");
  for (const button of all("#indexes input")) button.checked = button.value === state.index;
  refreshFilters(state);
  await showResults(state);
  showProduct(read(), hitOf);
}

async function refreshFilters(state) {
  const filters = JSON.stringify([state.filters, state.min, state.max, state.index]);
  if (filters === lastFilters) return;
  lastFilters = filters;
  const number = chosen(state).length;
  find("#filters-number").textContent = number ? `(${number})` : "";
  try {
    const facets = await showFilters(state);
    if (facets) offer(facets);
    const status = find("#status");
    if (problem && status.textContent === problem) status.textContent = "";
    problem = "";
  } catch (error) {
    lastFilters = null;
    problem = error.message;
    find("#status").textContent = problem;
  }
}

find("#scores").addEventListener("click", () => go({ scores: read().scores ? "" : "yes" }, { replace: true }));
find("#indexes")?.addEventListener("change", ({ target }) => go({ index: target.value }));
find(".brand").addEventListener("click", (event) => {
  event.preventDefault();
  go(NOTHING);
  find("#words").focus();
});
find(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the link's own address would take the place of the search
  find("#results-heading").focus();
});
follow(show);
if (!read().product) find("#words").focus();
