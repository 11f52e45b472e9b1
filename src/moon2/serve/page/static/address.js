// What is looked at, as the part of the address after #: so it can be shared, and Back works.

const FILTER = "is.";

/** What an empty address means. `filters` is column → values; `min` and `max` are prices as
 * typed; `product` is the one that is open, `of` its index, and `why` whether to say why it was found. */
export const NOTHING = { q: "", photo: "", like: "", filters: {}, min: "", max: "", index: "0", scores: "", product: "", of: "0", why: "" };

export function read() {
  const written = new URLSearchParams(location.hash.slice(1));
  const state = { ...NOTHING, filters: Object.create(null) }; // a column may be called "constructor"
  for (const [name, value] of written) {
    if (name.startsWith(FILTER)) (state.filters[name.slice(FILTER.length)] ??= []).push(value);
    else if (Object.hasOwn(NOTHING, name) && name !== "filters") state[name] = value;
  }
  return state;
}

export function write(state) {
  const written = new URLSearchParams();
  for (const [name, value] of Object.entries(state)) {
    if (name === "filters") {
      for (const [column, values] of Object.entries(value)) values.forEach((one) => written.append(FILTER + column, one));
    } else if (value !== NOTHING[name]) written.append(name, value);
  }
  const text = written.toString();
  return text ? `#${text}` : location.pathname + location.search;
}

let changed = () => {};

/** Calls `listener(state)` now, and whenever the address changes. */
export function follow(listener) {
  changed = () => listener(read());
  addEventListener("popstate", changed);
  changed();
}

/** Goes to a state that differs by `changes`; `replace` leaves no step for Back. */
export function go(changes, { replace = false } = {}) {
  const address = write({ ...read(), ...changes });
  const inside = Boolean({ ...read(), ...changes }.product);
  const steps = inside ? (history.state?.steps ?? 0) + (replace ? 0 : 1) : 0;
  history[replace ? "replaceState" : "pushState"]({ steps }, "", address);
  changed();
}

/** Leaves the product that is open: back over the steps made since, or forward where the page began with it. */
export function leaveProduct() {
  const steps = history.state?.steps ?? 0;
  if (steps) history.go(-steps);
  else go({ product: "", of: "0", why: "" });
}

/** Whether two states ask for the same search. */
export const searchKey = ({ q, photo, like, filters, min, max, index }) => JSON.stringify([q, photo, like, filters, min, max, index]);
