// The sentence that tells when the page is no longer told of changes.
import { page, say } from "./page.js";

const shown = document.getElementById("connection");

/** Say that the connection is "lost" or "refused", or nothing when it is "open". */
export function showConnection(state) {
  shown.hidden = state === "open";
  say(shown, state === "refused" ? page.texts.log_in : page.texts.interrupted);
}
