// What became of a result since it was stored: its images may have changed, it may be gone.
import { fill, moment, page, say } from "./page.js";

const CHANGED = ["more", "fewer", "replaced", "deleted"];

const at = (id) => document.getElementById(id);

/** Whether the result may be shown: it is in the archive, and staff have not withdrawn it. */
export function isShown(request) {
  return request.result_state === "stored";
}

/** `withdrawn`, `gone`, `changed`, or empty where nothing is known to have happened. */
export function afterwardsOf({ state, result_state: result, input_state: input }) {
  if (state !== "completed") {
    return "";
  }
  if (result !== "stored") {
    return result;
  }
  return CHANGED.includes(input) ? "changed" : "";
}

/** Say it above the figures, with the way to a new analysis. */
export function showAfterwards(request) {
  const sentences = [resultSentence(request), imagesSentence(request)].filter(Boolean);
  at("afterwards").hidden = !sentences.length;
  at("afterwards").dataset.kind = afterwardsOf(request);
  say(at("afterwards-text"), sentences.join(" "));
  say(at("input-state"), page.texts.input_states[request.input_state]);
}

function resultSentence({ result_state: result, withdrawn }) {
  if (result === "withdrawn") {
    const { at: time, reason } = withdrawn;
    return fill(page.texts.withdrawn, { time: moment(time), reason });
  }
  return result === "gone" ? page.texts.gone : "";
}

function imagesSentence({ input_state: input }) {
  return CHANGED.includes(input) ? page.texts.input_states[input] : "";
}

// To the button that asks for an analysis: which phases are analysed is looked at before.
at("again").addEventListener("click", () => {
  at("analysis").scrollIntoView({ block: "center" });
  at("analyse").focus({ preventScroll: true });
});
