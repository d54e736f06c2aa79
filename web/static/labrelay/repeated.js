// The line that tells which earlier request is repeated.
import { fill, moment, page, say } from "./page.js";

const shown = document.getElementById("repeats");

/** When each request was made that this page has met; null where it cannot be read. */
const made = new Map();

/** Say which request this one repeats, if it does. */
export async function showRepeated(request) {
  made.set(request.request_id, request.created_at);
  const earlier = request.retry_of ?? "";
  if (shown.dataset.of === earlier) {
    return;
  }
  hideRepeated();
  shown.dataset.of = earlier;
  if (earlier && !made.has(earlier)) {
    made.set(earlier, madeAt(earlier));
  }
  const time = await made.get(earlier);
  if (time && shown.dataset.of === earlier) {
    say(shown, fill(page.texts.repeats, { time: moment(time) }));
    shown.hidden = false;
  }
}

/** The line is about no request. */
export function hideRepeated() {
  shown.dataset.of = "";
  shown.hidden = true;
}

async function madeAt(requestId) {
  try {
    const answer = await fetch(`${page.requests}/${requestId}`);
    return answer.ok ? (await answer.json()).created_at : null;
  } catch {
    return null;
  }
}
