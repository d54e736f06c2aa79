// The study page: puts choice, button, stages, slices and result together.
import { showConnection } from "./connection.js";
import { onLabsChanged, updateLabs } from "./labs.js";
import { Live } from "./live.js";
import { overlayOf } from "./outline.js";
import { page } from "./page.js";
import { marksOf } from "./marks.js";
import { hideResult, showResult } from "./result.js";
import { asPhases, chosenModel, chosenPhases, choices, onChoice, problem } from "./roles.js";
import { hideStages, isOver, refreshStages, showRequest, showSentence } from "./stages.js";
import { NotTaken, sendRequest } from "./submit.js";
import { setOverlay, showPhases } from "./viewer.js";

const button = document.getElementById("analyse");
const problemText = document.getElementById("problem");

let current = page.request;
let sending = false;
let awaited = null;

const live = new Live({
  onRequest: (request) => {
    if (request.request_id === current?.request_id) {
      apply(request);
    }
  },
  onLabs: updateLabs,
  onConnection: showConnection,
});

/** Show a request that is newer than what is shown. */
function apply(request) {
  current = request;
  showRequest(request);
  if (request.state === "completed" && request.result) {
    showPhases(asPhases(request.inputs));
    showResult(request);
    if (awaited === request.request_id) {
      // Above the button that was clicked: on a small screen nobody would see it come.
      awaited = null;
      document.getElementById("result").scrollIntoView({ block: "nearest" });
    }
    loadOutline(request);
  } else {
    hideResult();
  }
  renderButton();
}

/** The outline follows the result; without it the figures still stand. */
async function loadOutline(request) {
  const { overlay, sentence } = await overlayOf(request.request_id);
  if (current === request && overlay) {
    setOverlay(overlay, marksOf(request.result.model.name));
  } else if (current === request) {
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
  const running = current !== null && !isOver(current);
  const closed = sending || running || Boolean(problem());
  button.setAttribute("aria-disabled", String(closed));
}

function follow(request) {
  live.isNews(request);
  live.follow([request.request_id]);
  apply(request);
}

async function ask() {
  sending = true;
  tell("");
  renderButton();
  hideResult();
  setOverlay(null);
  showPhases(chosenPhases());
  showSentence(page.texts.sending);
  document.getElementById("progress").scrollIntoView({ block: "nearest" });
  const before = current;
  const inputs = choices().map(({ role, series_id: id }) => ({ role, series_id: id }));
  const wanted = { study_id: page.study_id, inputs, model: chosenModel().name };
  try {
    const sent = await sendRequest(wanted, () => showSentence(page.texts.looking));
    awaited = sent.request_id;
    follow(sent);
  } catch (error) {
    notSent(error, before);
  } finally {
    sending = false;
    renderButton();
  }
}

/** A refusal is a sentence. So is that nobody could tell whether the request was stored. */
function notSent(error, before) {
  if (before) {
    apply(before);
  } else {
    hideStages();
  }
  tell(error instanceof NotTaken ? error.message : page.texts.unclear);
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
  tell(problem());
  showChoice();
  renderButton();
});
onLabsChanged(refreshStages);

if (current) {
  if (!isOver(current) || !current.result) {
    showPhases(chosenPhases());
  }
  follow(current);
} else {
  showPhases(chosenPhases());
  renderButton();
}
