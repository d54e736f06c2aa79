// The figures of a completed request.
import { clock, duration, fill, number, page, say } from "./page.js";
import { isShown } from "./afterwards.js";
import { dropDetails, hideDetails, showDetails } from "./details.js";
import { showNoResult, showSuperseded } from "./earlier.js";
import { marksOf } from "./marks.js";
import { hideVerdicts, showVerdicts } from "./verdict.js";
import { showAfterwards } from "./warning.js";

const panel = document.getElementById("result");
const at = (id) => document.getElementById(id);

/** Hide the figures: there is no result, or it is another request's. */
export function hideResult() {
  panel.hidden = true;
  openViewerOn("");
  hideDetails();
  hideVerdicts();
  showNoResult();
}

/** The same result as before: newer ones may have come, or verdicts. */
export function refreshResult(request) {
  if (!panel.hidden) {
    showSuperseded(request);
    showAfterwards(request);
    showVerdicts(request);
  }
}

/** Show the figures of `request`, which is completed. */
export function showResult(request) {
  const { result } = request;
  const { texts } = page;
  panel.hidden = false;
  const shown = isShown(request);
  panel.dataset.found = String(shown && result.tumor_detected);
  panel.dataset.shown = String(shown);
  const label = marksOf(result.model.name);
  const found = label ? fill(texts.found_other, { label }) : texts.found;
  const notFound = label ? texts.not_found_other : texts.not_found;
  // Of what is withdrawn or gone neither: no figures over an empty overlay.
  at("verdict").hidden = !shown;
  say(at("verdict"), result.tumor_detected ? found : notFound);
  at("slices-label").textContent = label ? texts.slices_with_marks : texts.slices_with_tumour;
  at("lesions-label").textContent = label ? texts.marks : texts.lesions;
  at("figures").hidden = !shown || !result.tumor_detected;
  at("volume-ml").textContent = number(result.volume_ml, 2);
  at("diameter-mm").textContent = number(result.longest_diameter_mm, 1);
  at("tumour-slices").textContent = number(result.slices_with_tumor);
  at("all-slices").textContent = fill(texts.of_slices, { total: number(result.slices) });
  at("finished-at").textContent = clock(request.finished_at, {
    dateStyle: "medium",
    timeStyle: "medium",
  });
  at("stage-times").replaceChildren(...stageTimes(result.stage_seconds));
  openViewerOn(shown ? request.request_id : "");
  if (shown) {
    showDetails(request, noticeOf(result.model.name));
  } else {
    dropDetails();
  }
  refreshResult(request);
}

/** The viewer shows the result that the page shows; without one the study's newest, if any. */
function openViewerOn(id) {
  const link = document.querySelector("[data-testid=open-viewer]");
  if (link) {
    link.search = id ? `?request=${id}` : "";
  }
}

function noticeOf(name) {
  // Never another model's: it may have been trained on something else.
  return page.models.find((model) => model.name === name)?.notice ?? page.texts.not_clinical;
}

function stageTimes(seconds) {
  return Object.entries(seconds).map(([stage, taken]) => {
    const line = document.createElement("div");
    const name = document.createElement("dt");
    const value = document.createElement("dd");
    name.textContent = page.texts.stage_times[stage] ?? stage;
    value.textContent = duration(taken, 2);
    line.append(name, value);
    return line;
  });
}
