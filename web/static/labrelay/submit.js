// Sends a request, and looks for one whose answer did not arrive.
import { page } from "./page.js";

/** Milliseconds for the answer. The server asks the archive before it answers. */
const PATIENCE = 30000;

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
  const told = await answer.json();
  if (answer.status === 401) {
    throw new NotTaken(page.texts.log_in);
  }
  // 503 too: the archive could not be asked, so nothing was stored.
  if ((answer.status >= 400 && answer.status < 500) || answer.status === 503) {
    throw new NotTaken(told.error.message);
  }
  if (!answer.ok) {
    throw new Error(`HTTP ${answer.status}`);
  }
  return told;
}

/** The newest request of a study, or null: also when that cannot be learned. */
export async function latestRequest(studyId) {
  try {
    const answer = await fetch(`${page.requests}?study_id=${encodeURIComponent(studyId)}`, {
      signal: AbortSignal.timeout(PATIENCE),
    });
    return answer.ok ? ((await answer.json()).requests[0] ?? null) : null;
  } catch {
    return null;
  }
}
