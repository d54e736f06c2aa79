// The list of studies: the state of each latest analysis changes while one looks.
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
  say(badge, labelOf(request));
}

function labelOf({ state, failure }) {
  const { ends, states } = page.texts.labels;
  return (state === "failed" && ends[failure?.code]) || (states[state] ?? state);
}

const live = new Live({ onRequest: show, onLabs: updateLabs, onConnection: showConnection });
live.follow(null);
