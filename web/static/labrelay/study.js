// The study page: puts choice, button, stages, slices and result together.
import { onLabsChanged, updateLabs } from "./labs.js";
import { Live } from "./live.js";
import { page } from "./page.js";
import { hideResult, showResult } from "./result.js";
import { asPhases, chosenModel, chosenPhases, choices, onChoice, problem } from "./roles.js";
import { hideStages, isOver, refreshStages, showRequest, showSentence } from "./stages.js";
import { latestRequest, NotTaken, sendRequest } from "./submit.js";
import { setOverlay, showPhases } from "./viewer.js";

const button = document.getElementById("analyse");
const problemText = document.getElementById("problem");
const connection = document.getElementById("connection");

let current = page.request;
let sending = false;

const live = new Live({
  onRequest: (request) => {
    if (request.request_id === current?.request_id) {
      apply(request);
    }
  },
  onLabs: updateLabs,
  onConnection: (state) => {
    connection.hidden = state === "open";
    connection.textContent = state === "refused" ? page.texts.log_in : page.texts.interrupted;
  },
});

/** Show a request that is newer than what is shown. */
function apply(request) {
  current = request;
  showRequest(request);
  if (request.state === "completed" && request.result) {
    showPhases(asPhases(request.inputs));
    showResult(request);
    loadOutline(request);
  } else {
    hideResult();
  }
  renderButton();
}

/** The outline follows the result; without it the figures still stand. */
async function loadOutline(request) {
  try {
    const answer = await fetch(`../../requests/${request.request_id}/overlay.json`);
    const body = await answer.json();
    if (!answer.ok) {
      throw new Error(body.error.message);
    }
    if (current === request) {
      setOverlay(body);
    }
  } catch (error) {
    if (current === request) {
      tell(error instanceof TypeError ? page.texts.outline_failed : error.message);
    }
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

function renderButton() {
  const running = current !== null && !isOver(current);
  button.disabled = sending || running || Boolean(problem());
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
  try {
    const inputs = choices().map(({ role, series_id: id }) => ({ role, series_id: id }));
    follow(await sendRequest({ study_id: page.study_id, inputs, model: chosenModel().name }));
  } catch (error) {
    await notSent(error, before);
  } finally {
    sending = false;
    renderButton();
  }
}

/** A refusal is a sentence. Without an answer the request may be stored: look before saying so. */
async function notSent(error, before) {
  const stored = error instanceof NotTaken ? null : await latestRequest(page.study_id);
  if (stored && stored.request_id !== before?.request_id) {
    follow(stored);
    return;
  }
  if (before) {
    apply(before);
  } else {
    hideStages();
  }
  tell(error instanceof NotTaken ? error.message : page.texts.unclear);
}

document.getElementById("analysis").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!button.disabled) {
    ask();
  }
});
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
