// Time-intensity curves as SVG: one line for each lesion, a point for each phase.
import { fill, number, page } from "./page.js";

const SVG = "http://www.w3.org/2000/svg";

/** Units of the drawing, which is stretched to the width of the panel. */
const WIDTH = 340;
const HEIGHT = 200;
const LEFT = 44;
const RIGHT = 16;
const TOP = 10;
const BOTTOM = 46;

/** Lines across, beside the lowest one. */
const STEPS = 3;

/**
 * Draw the curves of these lesions, all of which have one. Returns whether the way along is time:
 * where a time is not known the phases stand side by side.
 */
export function drawCurves(svg, lesions) {
  const curves = lesions.map((lesion) => lesion.kinetics.points);
  const timed = curves.every(isInTime);
  const across = (point, place) => (timed ? point.seconds : place);
  const xs = curves.flatMap((points) => points.map(across));
  const [first, last] = [Math.min(...xs), Math.max(...xs)];
  const scale = steps(curves.flatMap((points) => points.map((point) => point.mean)));
  const [low, high] = [scale[0], scale.at(-1)];
  const x = (value) => LEFT + ((value - first) / (last - first || 1)) * (WIDTH - LEFT - RIGHT);
  const y = (value) => HEIGHT - BOTTOM - ((value - low) / (high - low)) * (HEIGHT - TOP - BOTTOM);

  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute("aria-label", fill(page.texts.curve, { lesions: inWords(lesions) }));
  svg.replaceChildren(
    ...scale.flatMap((value) => [
      shape("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }),
      text(number(value), { class: "tick end", x: LEFT - 6, y: y(value) + 3.5 }),
    ]),
    ...phaseTicks(curves[0], (point, place) => x(across(point, place)), timed),
    ...lesions.map((lesion) => {
      const points = lesion.kinetics.points;
      const places = points.map((point, place) => [x(across(point, place)), y(point.mean)]);
      return drawn(lesion.number, points, places);
    }),
  );
  return timed;
}

/** Times that are known and rise: others would draw a curve that runs back. */
function isInTime(points) {
  return points.every(
    ({ seconds }, place) =>
      typeof seconds === "number" && (place === 0 || seconds > points[place - 1].seconds),
  );
}

/** Round figures from below the lowest to above the highest of the values. */
function steps(values) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const raw = (high - low || Math.abs(high) || 1) / STEPS;
  const unit = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].find((factor) => factor * unit >= raw) * unit;
  const from = Math.floor(low / step);
  const to = Math.max(Math.ceil(high / step), from + 1);
  return Array.from({ length: to - from + 1 }, (_, place) => (from + place) * step);
}

/** Seconds under the axis where they are known, and below them the names of the phases. */
function phaseTicks(points, x, timed) {
  const under = HEIGHT - BOTTOM + 13;
  const seconds = timed
    ? points.map((point, place) => text(number(point.seconds), { class: "tick", x: x(point, place), y: under }))
    : [];
  // Phases that lie close have their names one below the other.
  const ends = [0, 0];
  const names = points.map((point, place) => {
    const half = widthOf(point.label) / 2;
    const middle = Math.min(Math.max(x(point, place), half), WIDTH - half);
    const row = ends.findIndex((end) => middle - half > end);
    if (row < 0) {
      return null;
    }
    ends[row] = middle + half + 6;
    return text(point.label, { class: "tick", x: middle, y: under + 13 * (row + (timed ? 1 : 0)) });
  });
  return [...seconds, ...names.filter(Boolean)];
}

/** About as wide as the words are drawn: Korean takes the full width of its size, Latin less. */
function widthOf(words) {
  return [...words].reduce((sum, letter) => sum + (letter.charCodeAt(0) > 0x2e80 ? 10.5 : 6.2), 0);
}

function drawn(lesion, points, places) {
  const group = shape("g", { class: "curve", "data-curve": lesion });
  const path = places.map(([x, y], place) => `${place ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`);
  group.append(shape("path", { d: path.join("") }));
  points.forEach((point, place) => {
    const dot = shape("circle", { cx: places[place][0], cy: places[place][1], r: 3 });
    const timed = typeof point.seconds === "number";
    const sentence = timed ? page.texts.curve_point_at : page.texts.curve_point;
    const seconds = timed ? number(point.seconds) : "";
    const title = shape("title", {});
    title.textContent = fill(sentence, { number: lesion, phase: point.label, seconds, value: number(point.mean, 1) });
    dot.append(title);
    group.append(dot);
  });
  return group;
}

function inWords(lesions) {
  return lesions
    .map(({ number: lesion, kinetics }) => {
      const values = kinetics.points.map((point) => `${point.label} ${number(point.mean)}`).join(", ");
      return fill(page.texts.curve_of, { number: lesion, values });
    })
    .join(" ");
}

function shape(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) {
    made.setAttribute(key, value);
  }
  return made;
}

function text(words, attributes) {
  const made = shape("text", attributes);
  made.textContent = words;
  return made;
}
