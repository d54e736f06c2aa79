// What a request is doing, in words for the reader.
import { conditionOf, waitsForArchive } from "./labs.js";
import { clock, fill, page, serverNow } from "./page.js";

const ENDS = ["completed", "cancelled", "failed", "dead"];
const NOT_YET_TAKEN = ["queued", "published"];
const AT_THE_LAB = ["accepted", "downloading", "inferring", "uploading"];

/** Whether nothing more will happen to the request by itself. */
export function isOver(request) {
  return ENDS.includes(request.state);
}

/** Whether the request is on its way to a result. Not while it is being cancelled. */
export function isActive(request) {
  return !isOver(request) && request.state !== "cancelling";
}

/** Where a request is and why: one sentence or a few. */
export function sentenceOf(request) {
  const { state, failure } = request;
  const { texts } = page;
  const told = texts.status[state] ?? state;
  const why = failure && (texts.failures[failure.code] ?? failure.reader);
  if (request.waits_for) {
    // No lab is asked yet, online or not.
    return texts.waits_for[request.waits_for] ?? told;
  }
  if (NOT_YET_TAKEN.includes(state)) {
    return texts.not_taken[conditionOf(request.pool)] ?? told;
  }
  if (AT_THE_LAB.includes(state)) {
    return atTheLab(request) ?? told;
  }
  switch (state) {
    case "waiting":
      return untilNextTry(request, told, why);
    case "cancelling":
      return conditionOf(request.pool) === "offline" ? texts.no_lab_to_confirm : told;
    case "completed":
      return request.cancel_asked_at ? joined(told, texts.too_late) : told;
    case "failed":
      return joined(texts.ends[failure?.code] ?? told, why);
    case "dead":
      return joined(told, why, texts.ask_staff);
  }
  return told;
}

/** What the lab was doing is not true any more when it is gone, or when it waits. */
function atTheLab(request) {
  if (conditionOf(request.pool) === "offline") {
    return page.texts.no_lab_now;
  }
  // It computes without the archive.
  const waits = request.state !== "inferring" && waitsForArchive(request.lab);
  return waits ? page.texts.archive_away_now : null;
}

function untilNextTry(request, told, why) {
  const { texts } = page;
  const condition = conditionOf(request.pool);
  if (Date.parse(request.next_try_at) <= serverNow()) {
    return texts.not_taken[condition] ?? texts.next_try_due;
  }
  const time = clock(request.next_try_at, { timeStyle: "short" });
  const because = texts.next_try[request.failure?.code];
  const besides = { offline: texts.no_lab_now, draining: texts.draining_now }[condition];
  return because
    ? joined(fill(because, { time }), besides)
    : joined(why, fill(told, { time }), besides);
}

function joined(...sentences) {
  return sentences.filter(Boolean).join(" ");
}
