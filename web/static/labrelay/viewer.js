// The slices: one image at a time, its outline with it, mouse wheel, slider and keys.
import { fill, page, say } from "./page.js";
import { Picture } from "./picture.js";

const viewer = document.getElementById("viewer");
const screen = document.getElementById("screen");
const slider = document.getElementById("slice-slider");
const toggle = document.getElementById("outline-toggle");
const largest = document.getElementById("largest");
const buttons = document.getElementById("phases");
const marks = document.getElementById("tumour-marks");
const picture = new Picture();

let phases = [];
let phase = 0;
let index = 0;
let overlay = null;
let outlined = "";

/** The reader has chosen a phase: another result leaves it. */
let phaseChosen = false;

/** Show these phases: `[{role, label, id, series_id, phase, slices}]`, in the model's order. */
export function showPhases(list) {
  const same = JSON.stringify(list) === JSON.stringify(phases);
  if (same) {
    return;
  }
  const before = phases.length;
  phases = list;
  phase = Math.min(phase, Math.max(phases.length - 1, 0));
  if (!before && phases.length > 1) {
    phase = 1; // the first image after contrast shows most
  }
  if (!before) {
    index = Math.floor(slices() / 2);
  }
  renderButtons();
  setOverlay(null);
}

/**
 * Draw this `overlay.json` over the images, or nothing; go to the middle of the largest lesion, on
 * the phase that the result refers to. `label` says what is outlined, where that is no tumour.
 */
export function setOverlay(data, label = "") {
  overlay = data;
  outlined = label;
  const any = Boolean(phases.length && overlay?.slices_with_tumor.length);
  toggle.hidden = !any;
  largest.hidden = !any;
  if (overlay) {
    const [down, across] = overlay.spacing;
    screen.style.aspectRatio = `${overlay.columns * across} / ${overlay.rows * down}`;
  }
  renderMarks();
  if (any) {
    openReferred();
    const middle = overlay.lesions["1"];
    if (middle === undefined) {
      goToLargest();
    } else {
      go(middle);
    }
  } else {
    go(index);
  }
}

/** Results of earlier versions refer to a phase before contrast, where no tumour shines. */
function openReferred() {
  const referred = phases.findIndex(({ id }) => id === overlay.phase);
  if (!phaseChosen && referred >= 0 && !phases[referred].role.startsWith("pre")) {
    phase = referred;
    renderButtons();
  }
}

/** Go to the slice with the largest marked area. */
function goToLargest() {
  const found = Object.entries(overlay?.areas ?? {});
  if (found.length) {
    go(Number(found.reduce((best, next) => (next[1] > best[1] ? next : best))[0]));
  }
}

/** Show the slice `wanted` of the result, and bring the images where they are seen. */
export function lookAt(wanted) {
  go(wanted);
  screen.scrollIntoView({ block: "nearest" });
  slider.focus({ preventScroll: true });
}

/** None without a phase, even where there is an outline: its images are no longer offered. */
function slices() {
  return phases[phase] ? (overlay?.slices ?? phases[phase].slices) : 0;
}

/** Show slice `wanted` (from 0, as the series that is referred to counts) of the phase. */
function go(wanted) {
  const count = slices();
  slider.max = Math.max(count - 1, 0);
  slider.disabled = count === 0;
  if (!count) {
    picture.clear();
    return;
  }
  index = Math.min(Math.max(wanted, 0), count - 1);
  slider.value = index;
  const label = sliceText(index);
  slider.setAttribute("aria-valuetext", label);
  say(document.getElementById("slice-label"), fill(page.texts.slice, { number: index + 1, total: count }));
  say(document.getElementById("phase-name"), phases[phase].label);
  picture.show(address(index), {
    index,
    label: `${phases[phase].label}. ${label}`,
    path: overlay?.outlines[index] ?? "",
    box: overlay ? `0 0 ${overlay.columns} ${overlay.rows}` : "",
  });
  for (const near of [1, -1, 2, -2, 3, 4]) {
    if (index + near >= 0 && index + near < count) {
      picture.fetchAhead(address(index + near));
    }
  }
}

function sliceText(at) {
  const { slice, slice_with_marks, slice_with_tumour } = page.texts;
  const marked = outlined ? slice_with_marks : slice_with_tumour;
  const values = { number: at + 1, total: slices(), label: outlined };
  return fill(overlay?.outlines[at] ? marked : slice, values);
}

/**
 * All phases are shown in the window of the first image after contrast, so they compare. The number
 * of slices is that of the outline: the server refuses when the indices of the two would differ.
 */
function address(at) {
  const { id, series_id: series, phase: part, slices: known } = phases[phase];
  const there = overlay?.orders[id]?.[at] ?? at;
  const count = overlay?.counts[id] ?? known;
  const pattern = encodeURIComponent((phases[1] ?? phases[0]).id);
  const of = part ? `&phase=${encodeURIComponent(`${part.keyword}:${part.value}`)}` : "";
  return `series/${series}/slices/${there}.png?of=${count}&window=${pattern}${of}`;
}

function renderButtons() {
  buttons.replaceChildren(
    ...phases.map((item, place) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = item.label;
      button.dataset.phase = item.role;
      button.setAttribute("aria-pressed", String(place === phase));
      button.addEventListener("click", () => choosePhase(place));
      return button;
    }),
  );
}

function choosePhase(place) {
  if (place < phases.length) {
    phase = place;
    phaseChosen = true;
    [...buttons.children].forEach((button, at) => {
      button.setAttribute("aria-pressed", String(at === phase));
    });
    go(index);
  }
}

/** A mark above the slider for each run of slices with a tumour. */
function renderMarks() {
  const runs = [];
  for (const at of overlay?.slices_with_tumor ?? []) {
    const last = runs.at(-1);
    if (last && last.end === at) {
      last.end += 1;
    } else {
      runs.push({ start: at, end: at + 1 });
    }
  }
  marks.setAttribute("viewBox", `0 0 ${Math.max(slices() - 1, 1)} 1`);
  marks.replaceChildren(
    ...runs.map(({ start, end }) => {
      const mark = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      mark.setAttribute("x", start - 0.5);
      mark.setAttribute("width", end - start);
      mark.setAttribute("height", 1);
      return mark;
    }),
  );
}

function toggleOutline() {
  if (!toggle.hidden) {
    const on = toggle.getAttribute("aria-checked") !== "true";
    toggle.setAttribute("aria-checked", String(on));
    picture.setOutlineVisible(on);
  }
}

/** In the viewer, or while nothing has the focus: elsewhere a letter may mean something else. */
const LETTERS = { j: () => go(index + 1), k: () => go(index - 1), o: toggleOutline };
const IN_VIEWER = {
  ArrowDown: () => go(index + 1),
  ArrowUp: () => go(index - 1),
  ArrowRight: () => go(index + 1),
  ArrowLeft: () => go(index - 1),
  PageDown: () => go(index + 10),
  PageUp: () => go(index - 10),
  Home: () => go(0),
  End: () => go(slices() - 1),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || !phases.length) {
    return;
  }
  const inViewer = viewer.contains(event.target);
  if (!inViewer && event.target !== document.body) {
    return;
  }
  const digit = /^[1-9]$/.test(event.key) ? () => choosePhase(Number(event.key) - 1) : undefined;
  const action =
    LETTERS[event.key.toLowerCase()] ?? digit ?? (inViewer ? IN_VIEWER[event.key] : undefined);
  if (action) {
    event.preventDefault();
    action();
  }
});

screen.addEventListener(
  "wheel",
  (event) => {
    const next = index + Math.sign(event.deltaY);
    // At either end the page scrolls on.
    if (!event.ctrlKey && next !== index && next >= 0 && next < slices()) {
      event.preventDefault();
      go(next);
    }
  },
  { passive: false },
);
slider.addEventListener("input", () => go(Number(slider.value)));
toggle.addEventListener("click", toggleOutline);
largest.addEventListener("click", goToLargest);
go(0);
