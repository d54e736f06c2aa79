// Learns of a request that was made elsewhere: in another tab, or by a colleague.
import { page } from "./page.js";

/** Call `handler` with the newest request of the study whenever the reader comes back to the page. */
export function onReturn(handler) {
  const look = async () => {
    const request = document.visibilityState === "visible" ? await newest() : null;
    if (request) {
      handler(request);
    }
  };
  // A window beside this one hides nothing: hence both.
  document.addEventListener("visibilitychange", look);
  window.addEventListener("focus", look);
}

async function newest() {
  const query = new URLSearchParams({ study_id: page.study_id, limit: 1 });
  try {
    const answer = await fetch(`${page.requests}?${query}`);
    return answer.ok ? ((await answer.json()).requests[0] ?? null) : null;
  } catch {
    return null; // the page says elsewhere that it has no connection
  }
}
