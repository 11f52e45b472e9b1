// Calls of the server. What it refuses becomes an Error that has the server's own words.

import { find } from "./dom.js";

const KEY = "moon2 key";

/** Whether calls bring a key. */
export const hasKey = () => sessionStorage.getItem(KEY) !== null;

/** JSON of an answer; `options.json` or a FormData is sent. */
export async function call(path, options = {}) {
  const answer = await request(path, options);
  return answer.json();
}

/** An address for an image that the server draws. */
export async function callImage(path, options = {}) {
  const answer = await request(path, options);
  return URL.createObjectURL(await answer.blob());
}

async function request(path, { json, body, signal } = {}) {
  const headers = {};
  const key = sessionStorage.getItem(KEY);
  if (key) headers.Authorization = `Bearer ${key}`;
  if (json) headers["Content-Type"] = "application/json";
  const sent = json ? JSON.stringify(json) : body;
  let answer;
  try {
    answer = await fetch(path, { method: sent ? "POST" : "GET", headers, body: sent, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server cannot be reached. Is it still running?");
  }
  if (answer.ok) return answer;
  if (answer.status === 401) {
    // Another request may have got one meanwhile.
    if (sessionStorage.getItem(KEY) === key && !(await askForKey(Boolean(key)))) throw new Error("This server answers with an API key only. Search again to give one.");
    return request(path, { json, body, signal });
  }
  throw new Error(await reason(answer));
}

async function reason(answer) {
  try {
    const { message } = (await answer.json()).error;
    return message[0].toUpperCase() + message.slice(1);
  } catch {
    return `The server answered ${answer.status}.`;
  }
}

let asking = null;

/** Asks once, however many requests were refused; says whether a key was given. */
function askForKey(again) {
  asking ??= new Promise((done) => {
    const dialog = find("#key");
    const field = find("#key-value");
    field.value = "";
    find("#key-refused").hidden = !again;
    dialog.returnValue = "";
    dialog.addEventListener("close", () => {
      const given = Boolean(dialog.returnValue && field.value);
      if (given) sessionStorage.setItem(KEY, field.value);
      asking = null;
      done(given);
    }, { once: true });
    dialog.showModal();
  });
  return asking;
}

/** One kind of call of which only the latest answer counts: an earlier one is dropped. */
export class Latest {
  #controller = null;

  /** Runs `work(signal)`; undefined where a later one began meanwhile. */
  async run(work) {
    this.cancel();
    const controller = (this.#controller = new AbortController());
    try {
      const result = await work(controller.signal);
      return controller.signal.aborted ? undefined : result;
    } catch (error) {
      if (controller.signal.aborted) return undefined;
      throw error;
    }
  }

  cancel() {
    this.#controller?.abort();
  }
}
