// The buttons above the stages: stop a request that is on its way, repeat one that failed.
import { NotTaken } from "./call.js";
import { page, say } from "./page.js";
import { isActive } from "./sentence.js";
import { cancelRequest } from "./submit.js";

const cancelButton = document.getElementById("cancel");
const retryButton = document.getElementById("retry");
const note = document.getElementById("action-note");

/** Ids of the requests whose cancel is on its way to the server. */
const asking = new Set();

let shown = null;
let doubtful = false;

/** Show what can be done about a request; nothing without one. */
export function showActions(request) {
  if (shown?.request_id !== request?.request_id || (doubtful && !isActive(request))) {
    // It was about another request, or what was not known is known now.
    tell("");
  }
  shown = request;
  render();
}

/**
 * `changed` is called with a request that was stopped, `refused` when it could not be, and `retry`
 * when the reader wants to repeat the request that is shown.
 */
export function onActions({ changed, refused, retry }) {
  retryButton.addEventListener("click", () => retry(shown));
  cancelButton.addEventListener("click", async () => {
    const request = shown;
    if (asking.has(request.request_id)) {
      return;
    }
    asking.add(request.request_id);
    tellOf(request, "");
    try {
      const onSilence = () => tellOf(request, page.texts.asking_again);
      const stopped = await cancelRequest(request.request_id, onSilence);
      tellOf(request, "");
      changed(stopped);
    } catch (error) {
      if (error instanceof NotTaken) {
        tellOf(request, error.message, "error");
        refused(request);
      } else {
        tellDoubt(request);
      }
    } finally {
      asking.delete(request.request_id);
      render();
    }
  });
}

/** Nobody knows whether the cancel was taken, unless the page has heard of it meanwhile. */
function tellDoubt(request) {
  const unknown = shown !== null && isActive(shown);
  tellOf(request, unknown ? page.texts.cancel_unclear : "", "error");
  doubtful = unknown;
}

/** Say something about a request, and nothing once the page shows another. */
function tellOf(request, text, kind) {
  if (request.request_id === shown?.request_id) {
    tell(text, kind);
    render();
  }
}

function tell(text, kind = "notice") {
  doubtful = false;
  note.className = kind;
  note.hidden = !text;
  say(note, text);
}

function render() {
  cancelButton.setAttribute("aria-disabled", String(asking.has(shown?.request_id)));
  show(cancelButton, shown !== null && isActive(shown));
  const final = shown?.failure?.final === true;
  show(retryButton, ["failed", "dead"].includes(shown?.state) && !final);
}

function show(button, visible) {
  if (!visible && document.activeElement === button) {
    // Not to another button: the next press of the key was meant for this one.
    document.getElementById("status").focus({ preventScroll: true });
  }
  button.hidden = !visible;
}
