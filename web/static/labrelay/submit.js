// Sends a request, and repeats it under the same key when the answer does not arrive.
import { page } from "./page.js";

/** Milliseconds for the first answer: the server asks the archive before it gives one. */
const PATIENCE = 30000;

/** Milliseconds before each repeat, and for its answer. */
const REPEATS = [500, 2000, 4000, 8000];
const REPEAT_PATIENCE = 10000;

/** The server has refused, with a sentence for the reader: nothing was stored. */
export class NotTaken extends Error {}

/** The last click when nobody could tell what became of it: `{ text, key }`. */
let unclear = null;

/**
 * POST the request; returns it as it was stored, throws `NotTaken`, or a network error when it is
 * not known what became of it. `onSilence` is called once if the first answer does not arrive.
 *
 * A click has a key of its own, and the server knows it again: however often it comes, it is one
 * request. The same wish clicked again after an unknown outcome keeps its key.
 */
export async function sendRequest(body, onSilence) {
  const text = JSON.stringify(body);
  const key = unclear?.text === text ? unclear.key : newKey();
  unclear = { text, key };
  try {
    return settled(await post(text, key, PATIENCE));
  } catch (error) {
    stopIfRefused(error);
    onSilence();
  }
  let last;
  for (const wait of REPEATS) {
    await new Promise((resolve) => setTimeout(resolve, wait));
    try {
      return settled(await post(text, key, REPEAT_PATIENCE));
    } catch (error) {
      stopIfRefused(error);
      last = error;
    }
  }
  throw last;
}

async function post(text, key, patience) {
  const answer = await fetch(page.requests, {
    method: "POST",
    headers: { "Content-Type": "application/json", "Idempotency-Key": key },
    body: text,
    signal: AbortSignal.timeout(patience),
  });
  // What stands between answers in HTML.
  const told = await answer.json().catch(() => null);
  if (answer.status === 401) {
    throw new NotTaken(page.texts.log_in);
  }
  // The site's own 503 too: the archive could not be asked, so nothing was stored.
  const refused = answer.status >= 400 && answer.status < 500;
  if (refused || (answer.status === 503 && told?.error)) {
    throw new NotTaken(told?.error?.message ?? page.texts.refused);
  }
  if (!answer.ok || !told) {
    throw new Error(`HTTP ${answer.status}`);
  }
  return told;
}

function settled(request) {
  unclear = null;
  return request;
}

function stopIfRefused(error) {
  if (error instanceof NotTaken) {
    unclear = null;
    throw error;
  }
}

/** 128 random bits. Not `randomUUID`, which a page has over https and on loopback only. */
function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
