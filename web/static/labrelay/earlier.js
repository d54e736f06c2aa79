// The other results of the study: which of them holds, and the way to look at each.
import { afterwardsOf } from "./afterwards.js";
import { fetched } from "./fetched.js";
import { moment, page, say } from "./page.js";

/** Results that are listed, the newest. */
const LISTED = 20;

const at = (id) => document.getElementById(id);
const list = at("earlier");
const newer = at("superseded");

let chosen = () => {};
let current = null;
let listed = [];
let allowed = true;

/** Call `handler` with a result that the reader wants to see in the place of the one shown. */
export function onEarlier(handler) {
  chosen = handler;
}

/** Whether another result may take the place of what is shown: not while a request is on its way. */
export function allowEarlier(now) {
  allowed = now;
  for (const button of document.querySelectorAll("#earlier button, #superseded button")) {
    button.setAttribute("aria-disabled", String(!allowed));
  }
}

/** No result is shown: each of the list can be looked at. */
export function showNoResult() {
  current = null;
  if (list.open) {
    load();
  }
}

/** Say whether a later result replaces the one of this request. */
export function showSuperseded(request) {
  const before = current;
  current = request;
  newer.hidden = !request.superseded_by;
  if (list.open && (before?.request_id !== request.request_id || before.version !== request.version)) {
    load();
  }
}

async function load() {
  const query = new URLSearchParams({ study_id: page.study_id, state: "completed", limit: LISTED });
  const address = `${page.requests}?${query}`;
  const { body, sentence } = await fetched(address, page.texts.earlier_failed);
  listed = body?.requests ?? listed;
  const others = listed.some((one) => one.request_id !== current?.request_id);
  const none = body && !others ? page.texts.no_earlier : "";
  at("earlier-note").hidden = !(sentence || none);
  say(at("earlier-note"), sentence || none);
  render();
}

function render() {
  at("earlier-lines").replaceChildren(...listed.map(lineOf));
}

function lineOf(request) {
  const line = document.createElement("li");
  const shown = request.request_id === current?.request_id;
  const button = document.createElement("button");
  button.type = "button";
  button.className = "plain";
  button.textContent = `${moment(request.created_at)} · ${request.model}`;
  button.setAttribute("aria-current", String(shown));
  button.setAttribute("aria-disabled", String(!allowed));
  button.addEventListener("click", () => {
    if (allowed && request.request_id !== current?.request_id) {
      chosen(request);
    }
  });
  const { texts } = page;
  const marks = [
    [shown && texts.shown_now, "shown"],
    [request.superseded_by && texts.superseded_short, "superseded"],
    [texts.afterwards[afterwardsOf(request)], "superseded"],
    [texts.decisions[request.verdict], request.verdict],
  ];
  line.append(button, ...marks.filter(([words]) => words).map(mark));
  return line;
}

function mark([words, kind]) {
  const made = document.createElement("span");
  made.className = "badge";
  made.dataset.mark = kind;
  made.textContent = words;
  return made;
}

list.addEventListener("toggle", () => list.open && load());
at("show-newer").addEventListener("click", async () => {
  const id = current?.superseded_by;
  if (!allowed || !id) {
    return;
  }
  const { body, sentence } = await fetched(`${page.requests}/${id}`, page.texts.earlier_failed);
  at("superseded-note").hidden = !sentence;
  say(at("superseded-note"), sentence ?? "");
  if (body && allowed) {
    chosen(body);
  }
});
