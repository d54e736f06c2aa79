// Loads what stands beside a result; a server that may be well in a moment is asked again.

/** Milliseconds before each further attempt. */
const WAITS = [1000, 3000];

/** Answers of such a server. */
const PASSING = [502, 503, 504];

/** `{body}` of an address, or `{sentence}` that says why there is none, `failed` without a better. */
export async function fetched(address, failed) {
  let told = await attempt(address, failed);
  for (const wait of WAITS) {
    if (!told.again) {
      break;
    }
    await new Promise((resolve) => setTimeout(resolve, wait));
    told = await attempt(address, failed);
  }
  return told;
}

async function attempt(address, failed) {
  try {
    const answer = await fetch(address);
    // What stands between answers in HTML.
    const body = await answer.json().catch(() => null);
    if (answer.ok && body) {
      return { body };
    }
    const sentence = body?.error?.message ?? failed;
    // A 502 of the site itself means an object that cannot be read: that stays so.
    const final = answer.status === 502 && body !== null;
    return { sentence, again: PASSING.includes(answer.status) && !final };
  } catch {
    return { sentence: failed, again: true };
  }
}
