// The study page: puts choice, button, stages, slices and result together.
import { isShown } from "./afterwards.js";
import { onActions, showActions } from "./actions.js";
import { NotTaken } from "./call.js";
import { checkChoice } from "./concerns.js";
import { showConnection } from "./connection.js";
import { onLesion, placeLesions } from "./details.js";
import { allowEarlier, onEarlier } from "./earlier.js";
import { onLabsChanged, updateLabs } from "./labs.js";
import { Live } from "./live.js";
import { overlayOf } from "./outline.js";
import { page } from "./page.js";
import { marksOf } from "./marks.js";
import { onReturn } from "./newest.js";
import { hideRepeated, showRepeated } from "./repeated.js";
import { hideResult, refreshResult, showResult } from "./result.js";
import { asPhases, chosenModel, chosenInputs, chosenPhases, onChoice, problem } from "./roles.js";
import { isActive } from "./sentence.js";
import { hideStages, refreshStages, showRequest, showSentence } from "./stages.js";
import { repeatRequest, sendRequest } from "./submit.js";
import { lookAt, setOverlay, showPhases } from "./viewer.js";

const button = document.getElementById("analyse");
const problemText = document.getElementById("problem");

let current = page.request;
let sending = false;
let awaited = null;
let refusal = "";

const live = new Live({
  onRequest: changed,
  onLabs: updateLabs,
  onConnection: showConnection,
});

/** Take news of a request; they show unless the page is busy with the next one. */
function changed(request) {
  if (request.request_id !== current?.request_id) {
    return;
  }
  const same =
    Boolean(current.result && request.result) && isShown(current) === isShown(request);
  current = request;
  if (same) {
    // Only what became of it is new: whoever looks at a slice is not taken away from it.
    refreshResult(request);
  } else if (!sending) {
    apply(request);
  }
}

/** Show a request that is newer than what is shown. */
function apply(request) {
  current = request;
  showRequest(request);
  showActions(request);
  showRepeated(request);
  if (request.state === "completed" && request.result) {
    const phases = asPhases(request.inputs);
    showPhases(phases);
    if (phases.length < request.inputs.length) {
      tell(page.texts.phases_gone);
    }
    showResult(request);
    if (awaited === request.request_id) {
      // Above the button that was clicked: on a small screen nobody would see it come.
      awaited = null;
      document.getElementById("result").scrollIntoView({ block: "nearest" });
    }
    if (isShown(request)) {
      loadOutline(request);
    } else {
      setOverlay(null);
    }
  } else {
    hideResult();
  }
  renderButton();
}

/** The outline follows the result; without it the figures still stand. */
async function loadOutline(request) {
  const { overlay, sentence } = await overlayOf(request.request_id);
  // What became of it may have been told meanwhile: the result is the same.
  const shown = current?.request_id === request.request_id;
  if (shown && overlay) {
    setOverlay(overlay, marksOf(request.result.model.name));
    placeLesions(overlay.lesions);
  } else if (shown) {
    tell(sentence);
  }
}

/** The images of the choice; the result stands beside them only when it is of these images. */
function showChoice() {
  const chosen = chosenPhases();
  const ofResult = current?.result ? asPhases(current.inputs) : [];
  if (current?.result && JSON.stringify(chosen) === JSON.stringify(ofResult)) {
    apply(current);
  } else {
    hideResult();
    showPhases(chosen);
  }
}

function tell(sentence) {
  problemText.textContent = sentence;
  problemText.hidden = !sentence;
}

/** Not `disabled`: the button would lose the focus at the click, and a keyboard its place. */
function renderButton() {
  // Not while one is being cancelled: who changes their mind again asks anew.
  const running = current !== null && isActive(current);
  const closed = sending || running || Boolean(problem()) || Boolean(refusal);
  button.setAttribute("aria-disabled", String(closed));
  allowEarlier(!sending && !running);
}

function follow(request) {
  live.isNews(request);
  live.follow([request.request_id]);
  apply(request);
}

function ask() {
  const wanted = { study_id: page.study_id, inputs: chosenInputs(), model: chosenModel().name };
  showPhases(chosenPhases());
  begin((onSilence) => sendRequest(wanted, onSilence));
}

/** What the archive holds of the choice may speak against it; until it is known the button is open. */
async function check() {
  const found = await checkChoice();
  if (found) {
    refusal = found;
    tell(found);
    renderButton();
  }
}

/** Send a request by `post`, and follow what the server made of it. */
async function begin(post) {
  sending = true;
  tell("");
  renderButton();
  hideResult();
  setOverlay(null);
  showSentence(page.texts.sending);
  showActions(null);
  hideRepeated();
  document.getElementById("progress").scrollIntoView({ block: "nearest" });
  try {
    const sent = await post(() => showSentence(page.texts.looking));
    awaited = sent.request_id;
    sending = false;
    follow(sent);
  } catch (error) {
    sending = false;
    notSent(error);
  }
}

/** A refusal is a sentence. So is that nobody could tell whether the request was stored. */
function notSent(error) {
  if (current) {
    apply(current);
  } else {
    hideStages();
    renderButton();
  }
  tell(error instanceof NotTaken ? error.message : page.texts.unclear);
}

/** A request that was made elsewhere. It replaces none that somebody waits for, and no result. */
function found(request) {
  const newer = !current || Date.parse(request.created_at) > Date.parse(current.created_at);
  const kept = current && (isActive(current) || current.result);
  if (newer && !kept && !sending) {
    follow(request);
  }
}

/** Another result of the study, which the reader has chosen. */
function showEarlier(request) {
  if (!sending) {
    tell("");
    follow(request);
    document.getElementById("result").scrollIntoView({ block: "start" });
  }
}

document.getElementById("analysis").addEventListener("submit", (event) => {
  event.preventDefault();
  if (button.getAttribute("aria-disabled") !== "true") {
    ask();
  }
});
// Until here a click would have sent the form itself, and loaded the page again.
button.disabled = false;
onChoice(() => {
  refusal = "";
  tell(problem());
  showChoice();
  renderButton();
  check();
});
onLabsChanged(refreshStages);
onReturn(found);
onEarlier(showEarlier);
onLesion(lookAt);
onActions({
  changed: (request) => live.isNews(request) && changed(request),
  // It has moved on, and the page has not heard of it yet.
  refused: (request) => live.follow([request.request_id]),
  retry: ({ request_id: id }) => begin((onSilence) => repeatRequest(id, onSilence)),
});

if (current) {
  if (!current.result) {
    showPhases(chosenPhases());
  }
  follow(current);
} else {
  showPhases(chosenPhases());
  renderButton();
}
check();
