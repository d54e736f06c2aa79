// The list of stages, the status sentence and the time since the click.
import { labOnline } from "./labs.js";
import { clock, duration, fill, page, say, serverNow } from "./page.js";

const panel = document.getElementById("progress");
const status = document.getElementById("status");
const elapsed = document.getElementById("elapsed");
const bar = document.getElementById("stage-progress");
const lines = [...document.querySelectorAll("#stages li")];
const order = lines.map((line) => line.dataset.stage);

const TONES = { waiting: "warn", cancelling: "warn", failed: "bad", dead: "bad" };
const ENDS = ["completed", "cancelled", "failed", "dead"];
const NOT_YET_TAKEN = ["queued", "published"];
const AT_THE_LAB = ["accepted", "downloading", "inferring", "uploading"];

let shown = null;
let reached = -1;

/** Whether nothing more will happen to the request by itself. */
export function isOver(request) {
  return ENDS.includes(request.state);
}

/** Say one sentence without a request, for example that it is being sent. */
export function showSentence(text, tone = "") {
  shown = null;
  panel.hidden = false;
  panel.dataset.tone = tone;
  say(status, text);
  elapsed.textContent = "";
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
  panel.dataset.state = request.state;
  say(status, sentence(request));
  const stage = order.indexOf(request.state);
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
  tick();
}

/** Say the same again, for example after a lab has come or gone. */
export function refreshStages() {
  if (shown) {
    say(status, sentence(shown));
  }
}

function sentence(request) {
  const { texts } = page;
  const alone = !isOver(request) && !labOnline(request.pool);
  if (alone && NOT_YET_TAKEN.includes(request.state)) {
    return texts.no_lab;
  }
  if (alone && AT_THE_LAB.includes(request.state)) {
    return texts.no_lab_now; // what the lab was doing is not true any more
  }
  const told = fill(texts.status[request.state] ?? request.state, {
    time: request.next_try_at ? clock(request.next_try_at) : "",
  });
  const why = request.failure && (texts.failures[request.failure.code] ?? request.failure.reader);
  const besides = request.state === "cancelling" ? texts.no_lab_cancelling : texts.no_lab_now;
  return [told, why, alone && besides].filter(Boolean).join(" ");
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

function tick() {
  if (shown) {
    const until = isOver(shown) ? Date.parse(shown.finished_at) : serverNow();
    const seconds = Math.max(0, (until - Date.parse(shown.created_at)) / 1000);
    elapsed.textContent = Number.isFinite(seconds) ? duration(Math.floor(seconds)) : "";
  }
}

setInterval(tick, 1000);
