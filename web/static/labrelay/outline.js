// Loads the outlines of a completed request.
import { fetched } from "./fetched.js";
import { page } from "./page.js";

/** `{overlay}` of a request, or `{sentence}`, ours, that says why there is none. */
export async function overlayOf(requestId) {
  const address = `../../requests/${requestId}/overlay.json`;
  const { body: overlay, sentence } = await fetched(address, page.texts.outline_failed);
  return { overlay, sentence };
}
