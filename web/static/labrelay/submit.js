// Sends a request, and looks for one whose answer did not arrive.
import { page } from "./page.js";

/** Milliseconds for the answer. The server asks the archive before it answers. */
const PATIENCE = 30000;

/** Milliseconds before each look for a request whose answer did not arrive. */
const LOOKS = [0, 2000, 4000, 6000, 8000];

/** Milliseconds for one look, and by which the two clocks may differ. */
const LOOK_PATIENCE = 8000;
const SKEW = 5000;

/** The server has refused, with a sentence for the reader: nothing was stored. */
export class NotTaken extends Error {}

/** POST the request; returns it as it was stored, throws `NotTaken` or a network error. */
export async function sendRequest(body) {
  const answer = await fetch(page.requests, {
    method: "POST",
    headers: {
      "Content-Type": "application/json",
      "X-CSRFToken": document.querySelector("#analysis [name=csrfmiddlewaretoken]").value,
    },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(PATIENCE),
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

/**
 * The request that was stored for the body `wanted` since the click, or null: also when that cannot
 * be learned. Another reader's request for other images, or of another day, is not it. `before` is
 * the id of the request that the page showed at the click.
 */
export async function lookForRequest(wanted, since, before) {
  for (const wait of LOOKS) {
    await new Promise((resolve) => setTimeout(resolve, wait));
    const found = (await requestsOf(wanted.study_id)).find(
      (request) =>
        request.request_id !== before &&
        Date.parse(request.created_at) >= since - SKEW &&
        request.model === wanted.model &&
        inputsOf(request) === inputsOf(wanted),
    );
    if (found) {
      return found;
    }
  }
  return null;
}

async function requestsOf(studyId) {
  try {
    const answer = await fetch(`${page.requests}?study_id=${encodeURIComponent(studyId)}`, {
      signal: AbortSignal.timeout(LOOK_PATIENCE),
    });
    return answer.ok ? (await answer.json()).requests : [];
  } catch {
    return [];
  }
}

/** Which series plays which role, as one text that does not depend on the order. */
function inputsOf({ inputs }) {
  return JSON.stringify(inputs.map((item) => [item.role, item.series_id]).sort());
}
