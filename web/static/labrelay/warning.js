// Above the figures: what became of the result, with the way to a new analysis.
import { afterwardsOf, isOfOtherImages } from "./afterwards.js";
import { fill, moment, page, say } from "./page.js";

const at = (id) => document.getElementById(id);

/** Say what became of the result of this request, if anything did. */
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

function imagesSentence(request) {
  return isOfOtherImages(request) ? page.texts.input_states[request.input_state] : "";
}

// To the button that asks for an analysis: which phases are analysed is looked at before.
at("again").addEventListener("click", () => {
  at("analysis").scrollIntoView({ block: "center" });
  at("analyse").focus({ preventScroll: true });
});
