// A call that changes something: repeated until its answer arrives, or given up in a sentence.
import { page } from "./page.js";

/** Milliseconds before each repeat, and for its answer. */
const REPEATS = [500, 2000, 4000, 8000];
const REPEAT_PATIENCE = 10000;

/** The server has refused, with a sentence for the reader: nothing was changed. */
export class NotTaken extends Error {}

/**
 * POST `options` (body, headers), and again while no answer comes; returns the answer. Only for
 * what the server takes once, however often it comes.
 *
 * `patience` is for the first answer, in milliseconds; `onSilence` is called once if it does not
 * arrive. Throws `NotTaken`, or a network error when it is not known what became of the call.
 */
export async function send(address, options, patience, onSilence) {
  try {
    return await post(address, options, patience);
  } catch (error) {
    if (error instanceof NotTaken) {
      throw error;
    }
    onSilence();
  }
  let last;
  for (const wait of REPEATS) {
    await new Promise((resolve) => setTimeout(resolve, wait));
    try {
      return await post(address, options, REPEAT_PATIENCE);
    } catch (error) {
      if (error instanceof NotTaken) {
        throw error;
      }
      last = error;
    }
  }
  throw last;
}

async function post(address, options, patience) {
  const signal = AbortSignal.timeout(patience);
  const answer = await fetch(address, { method: "POST", signal, ...options });
  // What stands between answers in HTML.
  const told = await answer.json().catch(() => null);
  if (answer.status === 401) {
    throw new NotTaken(page.texts.log_in);
  }
  // The site's own 503 too: it could not ask the archive. Not that of a lost database, which may
  // have been lost while it wrote.
  const code = told?.error?.code;
  const refused = answer.status >= 400 && answer.status < 500;
  if (refused || (answer.status === 503 && code && code !== "service_unavailable")) {
    throw new NotTaken(told?.error?.message ?? page.texts.refused);
  }
  if (!answer.ok || !told) {
    throw new Error(`HTTP ${answer.status}`);
  }
  return told;
}
