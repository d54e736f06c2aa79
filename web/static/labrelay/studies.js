// The list of studies: the state of each latest analysis changes while one looks.
import { afterwardsOf } from "./afterwards.js";
import { showConnection } from "./connection.js";
import { updateLabs } from "./labs.js";
import { Live } from "./live.js";
import { page, say } from "./page.js";

function badgeOf(studyId) {
  return document.querySelector(`tr[data-study-id="${CSS.escape(studyId)}"] .badge`);
}

function show(request) {
  const badge = badgeOf(request.study_id);
  const created = Date.parse(badge?.dataset.created || 0) || 0;
  // Another request of the study counts when it is newer than the one that is shown.
  if (!badge || Date.parse(request.created_at) < created) {
    return;
  }
  badge.dataset.created = request.created_at;
  badge.dataset.version = request.version;
  badge.dataset.state = request.state;
  badge.dataset.afterwards = afterwardsOf(request);
  say(badge, labelOf(request));
}

function labelOf(request) {
  const { state, failure } = request;
  const { ends, states } = page.texts.labels;
  const after = afterwardsOf(request);
  if (after) {
    return page.texts.afterwards[after];
  }
  return (state === "failed" && ends[failure?.code]) || (states[state] ?? state);
}

const live = new Live({ onRequest: show, onLabs: updateLabs, onConnection: showConnection });
live.follow(null);
