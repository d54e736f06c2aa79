// Which labs are there, as shown in the bar of the page.
import { page, say } from "./page.js";

const known = new Map();
const shown = document.getElementById("labs");
let before = "";
let changed = () => {};

/** Whether a lab is online that takes requests of this pool. */
export function labOnline(pool) {
  return online().some((lab) => lab.pool === pool);
}

/** Take what the server tells; it also tells of a lab that has fallen silent. */
export function updateLabs(labs) {
  for (const lab of labs) {
    known.set(lab.lab, lab);
  }
  render();
}

/** Call `handler` whenever labs come or go. */
export function onLabsChanged(handler) {
  changed = handler;
}

function online() {
  return [...known.values()].filter((lab) => lab.online);
}

function render() {
  // Of the pool that a click goes to: another pool's lab does not take it.
  const there = online().filter((lab) => lab.pool === page.pool);
  shown.dataset.online = String(there.length > 0);
  say(shown, there.length > 0 ? page.texts.lab_online : page.texts.lab_offline);
  shown.title = there.map((lab) => `${lab.lab} (${lab.device})`).join(", ");
  const pools = JSON.stringify(online().map((lab) => lab.pool).sort());
  if (before !== pools) {
    before = pools;
    changed();
  }
}

updateLabs(page.labs);
