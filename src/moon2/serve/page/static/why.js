// Why a product was found: its ranks, its cosine, and what the encoder looks at.

import { callImage } from "./api.js";
import { element, find, number, showMessage } from "./dom.js";

/** Fills the section of the inspector; the heatmap is drawn on demand, as it takes an encoder's pass or two. */
export function showWhy(section, state, hit) {
  section.hidden = false;
  find(".ranks", section).append(...facts(state, hit).flatMap(([name, value]) => [element("dt", name), element("dd", value)]));
  const button = find(".show-heatmap", section);
  const draw = () => showHeatmap(section, button, state, hit);
  button.addEventListener("click", draw);
  if (state.why) draw();
}

function facts(state, hit) {
  const far = "far down";
  const said = [
    ["rank by vectors", hit.vector_rank ? number(hit.vector_rank) : far],
    ["cosine", hit.cosine.toFixed(3)],
  ];
  if (state.q) said.push(["rank by words", hit.word_rank ? number(hit.word_rank) : "has none of them"]);
  if (hit.exact) said.push(["exact", `its very ${hit.exact}`]);
  if (hit.image !== null) said.push(["nearest", `photo ${hit.image + 1}`]);
  said.push(["score", hit.score.toFixed(3)]);
  return said;
}

async function showHeatmap(section, button, state, hit) {
  const message = find(".message", section);
  const drawing = find(".heatmap", section);
  button.disabled = true;
  button.textContent = "Drawing…";
  section.setAttribute("aria-busy", "true");
  try {
    drawing.src = await callImage("v1/heatmap", { json: { product: hit.id, index: Number(state.of), ...(state.q && { query: state.q }) } });
    drawing.alt = `Drawing of which parts of the photo and which words of “${hit.title || hit.id}” the encoder looks at, and which experts handle them`;
    drawing.hidden = false;
    button.hidden = true;
    showMessage(message, "");
  } catch (error) {
    showMessage(message, error.message);
    button.disabled = false;
    button.textContent = "Show what the encoder looks at";
  }
  section.removeAttribute("aria-busy");
}
