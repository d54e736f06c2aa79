// What the stored report says of a result: each lesion, its curve, and where the result comes from.
import { drawCurves } from "./curve.js";
import { fetched } from "./fetched.js";
import { clock, fill, number, page, say } from "./page.js";

/** Lesions whose curves are drawn: more colours than these cannot be told apart. */
const DRAWN = 5;

const at = (id) => document.getElementById(id);

/** The reports that this page has read, by request; stored once, they do not change. */
const read = new Map();

let shown = "";

/** By number of a lesion, the slice in which it is largest; empty while no outline is drawn. */
let slices = {};

let chosen = () => {};

/** Nothing is shown of any report. */
export function hideDetails() {
  shown = "";
  slices = {};
}

/** Of a result that is not shown: nothing of its report stays on the page. */
export function dropDetails() {
  hideDetails();
  renderNothing("");
  say(at("result-notice"), "");
}

/** Call `handler` with the slice of a lesion that the reader wants to see. */
export function onLesion(handler) {
  chosen = handler;
}

/** The outline is drawn: each lesion's number leads to its slice now. */
export function placeLesions(bySlice) {
  slices = bySlice;
  for (const line of at("lesion-rows").children) {
    renderNumber(line.querySelector("[data-lesion]"));
  }
}

/**
 * Read the report of this request, unless the page has it, and show it. `notice` is what is said of
 * the model where the report does not say it.
 */
export async function showDetails({ request_id: id }, notice) {
  if (shown === id) {
    return;
  }
  shown = id;
  slices = {};
  say(at("result-notice"), notice);
  if (!read.has(id)) {
    renderNothing(page.texts.report_loading);
  }
  const told = read.get(id) ?? (await fetched(`${page.requests}/${id}/report`, page.texts.report_failed));
  if (told.body) {
    read.set(id, told);
  }
  if (shown !== id) {
    return;
  }
  if (told.body) {
    render(told.body);
  } else {
    // The next look at this result asks again.
    shown = "";
    renderNothing(told.sentence);
  }
}

function renderNothing(sentence) {
  note(sentence);
  at("lesions").hidden = true;
  at("left-out").hidden = true;
  at("curves").hidden = true;
  at("origin").replaceChildren(...(sentence ? [row(page.texts.origin.report, sentence)] : []));
}

function render(report) {
  const lesions = report.lesions ?? [];
  const asOne = report.tumor_detected && report.lesions === null ? page.texts.measured_as_one : "";
  note(asOne || (page.texts.curves_withheld[report.curves_withheld] ?? ""));
  at("lesions").hidden = !lesions.length;
  at("lesion-rows").replaceChildren(...lesions.map(lesionRow));
  const kinetics = lesions.some((lesion) => lesion.kinetics);
  at("lesions").toggleAttribute("data-plain", !kinetics);
  at("left-out").hidden = !report.left_out;
  say(at("left-out"), fill(page.texts.left_out, { count: number(report.left_out ?? 0) }));
  const drawn = lesions.filter((lesion) => lesion.kinetics).slice(0, DRAWN);
  at("curves").hidden = !drawn.length;
  if (drawn.length) {
    const timed = drawCurves(at("curve"), drawn);
    const more = lesions.length > drawn.length;
    const which = more ? fill(page.texts.curves_of_largest, { count: drawn.length }) : "";
    const axis = timed ? page.texts.curve_in_seconds : page.texts.curve_by_phase;
    say(at("curve-note"), [`${axis}.`, which].filter(Boolean).join(" "));
  }
  if (report.origin.notice) {
    say(at("result-notice"), report.origin.notice);
  }
  at("origin").replaceChildren(...originRows(report));
}

function note(sentence) {
  at("details-note").hidden = !sentence;
  say(at("details-note"), sentence);
}

function lesionRow(lesion) {
  const line = document.createElement("tr");
  const { kinetics } = lesion;
  const head = document.createElement("th");
  head.scope = "row";
  if (kinetics && lesion.number <= DRAWN) {
    const swatch = document.createElement("span");
    swatch.className = "swatch";
    swatch.dataset.curve = lesion.number;
    swatch.setAttribute("aria-hidden", "true");
    head.append(swatch);
  }
  const place = document.createElement("span");
  place.dataset.lesion = lesion.number;
  renderNumber(place);
  head.append(place);
  head.title = lesion.label;
  if (lesion.laterality) {
    const side = document.createElement("span");
    side.className = "side";
    side.textContent = page.texts.laterality[lesion.laterality];
    head.append(side);
    line.dataset.side = lesion.laterality;
  }
  line.append(
    head,
    cell(figure(lesion.volume_ml, 2)),
    cell(figure(lesion.longest_diameter_mm, 1)),
    cell(figure(lesion.longest_in_plane_mm, 1)),
    cell(figure(kinetics?.wash_in_percent, 0), "kinetic"),
    cell(page.texts.wash_out[kinetics?.wash_out] ?? "–", "kinetic word"),
  );
  return line;
}

/** The number of a lesion: a button where a slice shows it. */
function renderNumber(place) {
  const { lesion } = place.dataset;
  const slice = slices[lesion];
  if (slice === undefined) {
    place.textContent = number(lesion);
    return;
  }
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = number(lesion);
  button.ariaLabel = fill(page.texts.show_lesion, { number: lesion, slice: number(slice + 1) });
  button.title = button.ariaLabel;
  button.addEventListener("click", () => chosen(slice));
  place.replaceChildren(button);
}

function cell(text, kind = "") {
  const made = document.createElement("td");
  made.className = kind;
  made.textContent = text;
  return made;
}

function figure(value, digits) {
  // A lesion that is not nothing is never shown as nothing.
  const least = 10 ** -digits;
  if (typeof value !== "number") {
    return "–";
  }
  return value > 0 && value < least / 2 ? `< ${number(least, digits)}` : number(value, digits);
}

function originRows({ origin, verification, report, replaces }) {
  const texts = page.texts.origin;
  const phases = origin.phases.map((phase) => [
    fill(texts.phase, { phase: phase.label }),
    [phase.series_uid, phase.selector].filter(Boolean).join(" "),
    "code",
  ]);
  const weights = origin.weights.map(({ file, sha256 }) => [fill(texts.weights, { file }), sha256, "code"]);
  return [
    [texts.model, `${origin.model} ${origin.version}`],
    [texts.bundle, origin.bundle_sha256, "code"],
    ...weights,
    ...phases,
    ...(origin.input_sha256 ? [[texts.input, origin.input_sha256, "code"]] : []),
    [texts.threshold, origin.threshold],
    [texts.smallest, origin.smallest_mm3 && fill(texts.mm3, { value: origin.smallest_mm3 })],
    [texts.lab, origin.lab],
    [texts.device, origin.device],
    [texts.labrelay, origin.labrelay],
    [texts.created, moment(origin.created)],
    ...(origin.signal_scale ? [[texts.signal_scale, page.texts.signal_scale[origin.signal_scale] ?? ""]] : []),
    [texts.status, verification === "VERIFIED" ? page.texts.verified : page.texts.not_verified],
    [texts.report, report.sop_instance_uid, "code"],
    ...(replaces ? [[texts.replaces, replaces.sop_instance_uid, "code"]] : []),
  ].map(([name, value, kind]) => row(name, value, kind));
}

/** With an offset as the reader's clock has it; without one nobody knows whose clock it was. */
function moment(created) {
  if (!created) {
    return "";
  }
  const zoned = /(Z|[+-]\d\d:\d\d)$/.test(created) && !Number.isNaN(Date.parse(created));
  return zoned ? clock(created, { dateStyle: "medium", timeStyle: "medium" }) : created.replace("T", " ");
}

function row(name, value, kind) {
  const line = document.createElement("div");
  const term = document.createElement("dt");
  const definition = document.createElement("dd");
  term.textContent = name;
  if (kind === "code" && value) {
    const code = document.createElement("code");
    code.textContent = value;
    definition.append(code);
  } else {
    definition.textContent = value || page.texts.not_stated;
  }
  line.append(term, definition);
  return line;
}
