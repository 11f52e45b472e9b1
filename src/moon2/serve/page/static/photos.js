// Photos of products. Where the server asks for a key, an <img> cannot bring it, so they are fetched.

import { callImage, hasKey } from "./api.js";
import { find } from "./dom.js";

/** Gives an <img> its address, or what `failed` does. */
export async function load(image, address, failed = () => {}) {
  if (image.dataset.address === address) return;
  image.dataset.address = address;
  image.onerror = () => {
    delete image.dataset.address; // so that it is tried again when it is shown again
    failed();
  };
  if (!hasKey()) {
    image.src = address;
    return;
  }
  try {
    const own = await callImage(address);
    image.addEventListener("load", () => URL.revokeObjectURL(own), { once: true });
    if (image.dataset.address === address) image.src = own;
  } catch {
    if (image.dataset.address === address) image.onerror();
  }
}

/** Shows a photo in a `.picture`, the next address where one cannot be loaded; without any, that there is none. */
export function showPhoto(picture, addresses, alternative) {
  const [address, ...others] = addresses.filter(Boolean);
  const image = find("img", picture);
  const missing = find(".no-photo", picture);
  image.alt = address ? alternative : "";
  image.hidden = !address;
  if (missing) missing.hidden = Boolean(address);
  if (address) load(image, address, () => showPhoto(picture, others, alternative));
}
