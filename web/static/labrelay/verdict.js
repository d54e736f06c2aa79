// What readers think of the result that is shown: accepted, rejected with a reason, commented on.
import { NotTaken } from "./call.js";
import { fetched } from "./fetched.js";
import { fill, moment, page, say } from "./page.js";
import { sendVerdict } from "./submit.js";

const at = (id) => document.getElementById(id);
const form = at("verdict-form");
const words = at("verdict-text");

let shown = null;
let version = 0;
let sending = false;

/** Counts what is asked: an answer that another question overtook tells of the past. */
let asked = 0;

/** Of no result. */
export function hideVerdicts() {
  shown = null;
  version = 0;
}

/** Show what was said of this request's result; asked again only when there is news of it. */
export async function showVerdicts(request) {
  const { request_id: id } = request;
  if (shown === id && request.version <= version) {
    return;
  }
  if (shown !== id) {
    shown = id;
    words.value = "";
    tell("");
    say(at("verdict-now"), "");
    at("verdict-now").dataset.decision = "";
    at("verdict-reason").hidden = true;
    at("verdict-history").hidden = true;
  }
  version = request.version;
  asked += 1;
  const mine = asked;
  const told = await fetched(`${page.requests}/${id}/verdicts`, page.texts.verdicts_failed);
  if (shown !== id || mine !== asked) {
    return;
  }
  if (told.body) {
    render(told.body);
  } else {
    // The next news asks again.
    version = 0;
    say(at("verdict-now"), told.sentence);
  }
}

function render({ current, verdicts }) {
  at("verdict-now").dataset.decision = current?.decision ?? "";
  say(at("verdict-now"), current ? headOf(current) : page.texts.no_verdict);
  at("verdict-reason").hidden = !current?.text;
  say(at("verdict-reason"), current?.text ?? "");
  at("verdict-history").hidden = !verdicts.length;
  say(at("verdict-count"), String(verdicts.length));
  at("verdict-lines").replaceChildren(
    ...verdicts.map((verdict) => {
      const line = document.createElement("li");
      const head = document.createElement("p");
      const text = document.createElement("p");
      head.className = "muted";
      head.textContent = headOf(verdict);
      text.className = "words";
      text.textContent = verdict.text;
      line.append(head, ...(verdict.text ? [text] : []));
      return line;
    }),
  );
}

function headOf({ decision, by, at: time }) {
  const sentence = by ? page.texts.verdict_by : page.texts.verdict_unknown_reader;
  const values = { decision: page.texts.decisions[decision] ?? decision, reader: by, time: moment(time) };
  return fill(sentence, values);
}

async function give(decision) {
  const id = shown;
  const text = words.value.trim();
  if (sending || !id) {
    return;
  }
  if (!text && decision !== "accepted") {
    tell(decision === "rejected" ? page.texts.reason_missing : page.texts.comment_missing, "error");
    words.focus();
    return;
  }
  busy(true);
  tell(page.texts.verdict_sending);
  try {
    const onSilence = () => tell(page.texts.asking_again);
    const told = await sendVerdict(id, { decision, text }, onSilence);
    if (shown === id) {
      asked += 1;
      words.value = "";
      tell(page.texts.verdict_stored);
      render(told);
    }
  } catch (error) {
    if (shown === id) {
      tell(error instanceof NotTaken ? error.message : page.texts.verdict_unclear, "error");
    }
  } finally {
    busy(false);
  }
}

/** Not `disabled`: the button would lose the focus at the click, and a keyboard its place. */
function busy(now) {
  sending = now;
  words.readOnly = now;
  for (const button of form.querySelectorAll("button")) {
    button.setAttribute("aria-disabled", String(now));
  }
}

function tell(sentence, kind = "notice") {
  const note = at("verdict-note");
  note.className = kind;
  note.hidden = !sentence;
  say(note, sentence);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  // Without a button nobody has decided.
  if (event.submitter) {
    give(event.submitter.value);
  }
});
