// The list of stages, the status sentence and the time since the click.
import { duration, say, serverNow } from "./page.js";
import { isOver, sentenceOf } from "./sentence.js";

const panel = document.getElementById("progress");
const status = document.getElementById("status");
const elapsed = document.getElementById("elapsed");
const detail = document.getElementById("failure-detail");
const bar = document.getElementById("stage-progress");
const lines = [...document.querySelectorAll("#stages li")];
const order = lines.map((line) => line.dataset.stage);

const TONES = { waiting: "warn", cancelling: "warn", failed: "bad", dead: "bad" };

let shown = null;
let reached = -1;

/** Say one sentence without a request, for example that it is being sent. */
export function showSentence(text) {
  shown = null;
  panel.hidden = false;
  panel.dataset.tone = "";
  say(status, text);
  elapsed.textContent = "";
  detail.hidden = true;
  bar.hidden = true;
  markStages(-1, "todo");
}

/** Hide everything again. */
export function hideStages() {
  shown = null;
  panel.hidden = true;
}

/** Show where a request is. */
export function showRequest(request) {
  if (shown?.request_id !== request.request_id) {
    reached = -1;
  }
  shown = request;
  panel.hidden = false;
  panel.dataset.tone = TONES[request.state] ?? "";
  // What a lab found, for whoever is asked about it: only of an end.
  detail.textContent = request.state === "failed" ? (request.failure?.detail ?? "") : "";
  detail.hidden = !detail.textContent;
  // What is reported is on its way from one to the other, mostly for less than a second.
  const stage = order.indexOf(request.state === "reported" ? "uploading" : request.state);
  if (stage >= 0) {
    reached = stage;
    markStages(stage, request.state === "completed" ? "done" : "current");
  } else if (request.state === "waiting") {
    reached = -1;
    markStages(order.indexOf("published"), "current");
  } else {
    markStages(Math.max(reached, reachedByTimes(request)), isOver(request) ? "stopped" : "current");
  }
  const { progress } = request;
  bar.hidden = !progress?.total || isOver(request);
  bar.max = progress?.total || 1;
  if (progress?.total > 1) {
    bar.value = progress.done;
  } else {
    // One step: nothing is known until it is done.
    bar.removeAttribute("value");
  }
  refreshStages();
}

/** Say the same as it is now: a lab may have come or gone, a try may be due. */
export function refreshStages() {
  if (!shown) {
    return;
  }
  say(status, sentenceOf(shown));
  const until = isOver(shown) ? Date.parse(shown.finished_at) : serverNow();
  const seconds = Math.max(0, (until - Date.parse(shown.created_at)) / 1000);
  elapsed.textContent = Number.isFinite(seconds) ? duration(Math.floor(seconds)) : "";
}

/** How far an ended request had come, as far as its times tell. */
function reachedByTimes(request) {
  if (request.accepted_at) {
    return order.indexOf("accepted");
  }
  return order.indexOf(request.published_at ? "published" : "queued");
}

function markStages(current, state) {
  lines.forEach((line, index) => {
    line.dataset.state = index < current ? "done" : index === current ? state : "todo";
    if (index === current && state === "current") {
      line.setAttribute("aria-current", "step");
    } else {
      line.removeAttribute("aria-current");
    }
  });
}

setInterval(refreshStages, 1000);
