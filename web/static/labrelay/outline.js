// Loads the outlines of a completed request.
import { page } from "./page.js";

/** Milliseconds before each further attempt. */
const WAITS = [1000, 3000];

/** Answers of a server that may be well in a moment. */
const PASSING = [502, 503, 504];

/** `{overlay}` of a request, or `{sentence}`, ours, that says why there is none. */
export async function overlayOf(requestId) {
  let told = await attempt(requestId);
  for (const wait of WAITS) {
    if (!told.again) {
      break;
    }
    await new Promise((resolve) => setTimeout(resolve, wait));
    told = await attempt(requestId);
  }
  return told;
}

async function attempt(requestId) {
  const failed = page.texts.outline_failed;
  try {
    const answer = await fetch(`../../requests/${requestId}/overlay.json`);
    // What stands between answers in HTML.
    const body = await answer.json().catch(() => null);
    if (answer.ok && body) {
      return { overlay: body };
    }
    const sentence = body?.error?.message ?? failed;
    // A 502 of the site itself means a result that cannot be drawn: that stays so.
    const final = answer.status === 502 && body !== null;
    return { sentence, again: PASSING.includes(answer.status) && !final };
  } catch {
    return { sentence: failed, again: true };
  }
}
