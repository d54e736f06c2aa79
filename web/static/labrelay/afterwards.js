// What became of a result since it was stored: its images may have changed, it may be gone.

const CHANGED = ["more", "fewer", "replaced", "deleted"];

/** Whether the result may be shown: it is in the archive, and staff have not withdrawn it. */
export function isShown(request) {
  return request.result_state === "stored";
}

/** Whether the study holds other images now than were analysed. */
export function isOfOtherImages(request) {
  return CHANGED.includes(request.input_state);
}

/** `withdrawn`, `gone`, `changed`, or empty where nothing is known to have happened. */
export function afterwardsOf(request) {
  if (request.state !== "completed") {
    return "";
  }
  if (!isShown(request)) {
    return request.result_state;
  }
  return isOfOtherImages(request) ? "changed" : "";
}
