// Text of a shop is put in by these functions only: as text, never as markup.

export const find = (selector, root = document) => root.querySelector(selector);

export const all = (selector, root = document) => [...root.querySelectorAll(selector)];

/** A copy of a template's content: its element, or all of it where there are several. */
export function part(name) {
  const content = document.getElementById(`part-${name}`).content.cloneNode(true);
  return content.childElementCount === 1 ? content.firstElementChild : content;
}

/** An element with a text. */
export function element(tag, text, className = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

export function showMessage(paragraph, text) {
  paragraph.textContent = text;
  paragraph.hidden = !text;
}

const money = new Intl.NumberFormat(undefined, { minimumFractionDigits: 2, maximumFractionDigits: 2 });
export const price = (value) => (value === null || value === undefined ? "" : money.format(value));

const whole = new Intl.NumberFormat();
export const count = (value, one, many = `${one}s`) => `${whole.format(value)} ${value === 1 ? one : many}`;
export const number = (value) => whole.format(value);

/** A column's or an attribute's name as people read it. */
export const readable = (name) => name.replaceAll("_", " ");
