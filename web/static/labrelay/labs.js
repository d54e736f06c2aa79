// Which labs are there and what they do, as shown in the bar of the page.
import { page, say } from "./page.js";

/** A lab's conditions in which it takes no request. */
const ARCHIVE_AWAY = "archive_away";
const DRAINING = "draining";

const known = new Map();
const shown = document.getElementById("labs");
let before = "";
let changed = () => {};

/**
 * What the labs of a pool do, all together: "serving" as soon as one takes requests, otherwise
 * "archive_away", "draining", or "offline" when none is there.
 */
export function conditionOf(pool) {
  const conditions = online(pool).map((lab) => lab.condition);
  if (!conditions.length) {
    return "offline";
  }
  // A word that this page does not know says nothing against the lab.
  if (conditions.some((condition) => ![ARCHIVE_AWAY, DRAINING].includes(condition))) {
    return "serving";
  }
  return conditions.includes(ARCHIVE_AWAY) ? ARCHIVE_AWAY : DRAINING;
}

/** Whether this lab is there and waits for the archive. */
export function waitsForArchive(name) {
  const lab = known.get(name);
  return Boolean(lab?.online) && lab.condition === ARCHIVE_AWAY;
}

/** Take what the server tells; it also tells of a lab that has fallen silent. */
export function updateLabs(labs) {
  for (const lab of labs) {
    known.set(lab.lab, lab);
  }
  render();
}

/** Call `handler` whenever labs come, go or do something else. */
export function onLabsChanged(handler) {
  changed = handler;
}

function online(pool) {
  return [...known.values()].filter((lab) => lab.online && lab.pool === pool);
}

function render() {
  // Of the pool that a click goes to: another pool's lab does not take it.
  shown.dataset.condition = conditionOf(page.pool);
  say(shown, page.texts.labs[shown.dataset.condition]);
  shown.title = online(page.pool)
    .map((lab) => `${lab.lab} (${lab.device})`)
    .join(", ");
  const now = [...known.values()].map((lab) => [lab.lab, lab.pool, lab.online, lab.condition]);
  if (before !== JSON.stringify(now)) {
    before = JSON.stringify(now);
    changed();
  }
}

updateLabs(page.labs);
