// Sends a request, repeats or stops one, gives a verdict; each click is one click to the server.
import { NotTaken, send } from "./call.js";
import { page } from "./page.js";

/** Milliseconds for the first answer: the server asks the archive before it takes a request. */
const PATIENCE = 30000;

/** The same for a cancel, for which it asks nobody. */
const CANCEL_PATIENCE = 10000;

/** The last click by address when nobody could tell what became of it: `{ wish, key }`. */
const unclear = new Map();

/** POST a new request; returns it as it was stored. Throws as `send` does. */
export function sendRequest(body, onSilence) {
  return sendOnce(page.requests, JSON.stringify(body), onSilence);
}

/** Ask for the same again as a request that has ended; returns the new one. */
export function repeatRequest(requestId, onSilence) {
  return sendOnce(`${page.requests}/${requestId}/retry`, undefined, onSilence);
}

/** Ask to stop a request; returns it as it is then. Asked twice, it is asked once. */
export function cancelRequest(requestId, onSilence) {
  return send(`${page.requests}/${requestId}/cancel`, {}, CANCEL_PATIENCE, onSilence);
}

/** POST a reader's verdict on a result; returns all of them. */
export function sendVerdict(requestId, verdict, onSilence) {
  const address = `${page.requests}/${requestId}/verdicts`;
  return sendOnce(address, JSON.stringify(verdict), onSilence);
}

/**
 * A click has a key of its own, and the server knows it again: however often it comes, it is one
 * request. The same wish clicked again after an unknown outcome keeps its key.
 */
async function sendOnce(address, body, onSilence) {
  const wish = `${address} ${body}`;
  const before = unclear.get(address);
  const key = before?.wish === wish ? before.key : newKey();
  unclear.set(address, { wish, key });
  const headers = { "Idempotency-Key": key, ...(body && { "Content-Type": "application/json" }) };
  try {
    const answer = await send(address, { body, headers }, PATIENCE, onSilence);
    unclear.delete(address);
    return answer;
  } catch (error) {
    if (error instanceof NotTaken) {
      unclear.delete(address);
    }
    throw error;
  }
}

/** 128 random bits. Not `randomUUID`, which a page has over https and on loopback only. */
function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
