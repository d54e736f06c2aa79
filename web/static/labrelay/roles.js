// The choice of model and series: what is chosen, why, and what is wrong with it.
import { fill, page } from "./page.js";

const form = document.getElementById("analysis");
const modelChoice = document.getElementById("model");
const series = new Map(page.series.map((item) => [item.series_id, item]));

/** The model that is chosen, as the page's data describe it. */
export function chosenModel() {
  return page.models.find((model) => model.name === modelChoice.value) ?? page.models[0];
}

/** The choice in the model's order: `[{role, label, series_id}]`; an empty id where none. */
export function choices() {
  const labels = new Map(chosenModel().roles.map((item) => [item.role, item.label]));
  return selects().map((select) => ({
    role: select.dataset.role,
    label: labels.get(select.dataset.role),
    series_id: select.value,
  }));
}

/** The choice as the viewer shows it. */
export function chosenPhases() {
  return asPhases(choices());
}

/** Inputs of a request as the viewer shows them; series that are gone are left out. */
export function asPhases(inputs) {
  const labels = new Map(page.models.flatMap((m) => m.roles.map((item) => [item.role, item.label])));
  return inputs
    .filter((item) => series.has(item.series_id))
    .map((item) => ({
      role: item.role,
      label: labels.get(item.role) ?? item.role,
      series_id: item.series_id,
      slices: series.get(item.series_id).instance_count,
    }));
}

/** What is wrong with the choice, as a sentence, or an empty text. */
export function problem() {
  const chosen = choices().map((item) => item.series_id);
  if (chosen.some((id) => !id)) {
    return page.texts.choose_all;
  }
  if (new Set(chosen).size < chosen.length) {
    return page.texts.same_series;
  }
  const times = chosen.map((id) => series.get(id)?.acquired_at_s ?? null);
  const known = times.every((time) => time !== null);
  return known && times.some((time, at) => at > 0 && time <= times[at - 1])
    ? page.texts.out_of_order
    : "";
}

/** Call `handler` after every change of the choice. */
export function onChoice(handler) {
  form.addEventListener("change", () => {
    render();
    handler();
  });
}

function selects() {
  return [...form.querySelectorAll(`fieldset[data-model="${CSS.escape(chosenModel().name)}"] select`)];
}

function render() {
  const { name, left_out: leftOut } = chosenModel();
  for (const fieldset of form.querySelectorAll("fieldset[data-model]")) {
    fieldset.hidden = fieldset.dataset.model !== name;
    fieldset.disabled = fieldset.hidden;
  }
  for (const select of selects()) {
    const reason = document.getElementById(select.getAttribute("aria-describedby"));
    const proposed = select.value === select.dataset.proposed;
    const why = [page.texts.by_hand, leftOut[select.value]].filter(Boolean).join(" ");
    reason.textContent = proposed || !select.value ? select.dataset.reason : why;
    reason.toggleAttribute("data-by-hand", !proposed && Boolean(select.value));
  }
  renderUse(leftOut);
}

/** The last column of the table of series: chosen for what, or why left out. */
function renderUse(leftOut) {
  const roles = new Map(choices().map((item) => [item.series_id, item.label]));
  for (const line of document.querySelectorAll("tr[data-series-id]")) {
    const role = roles.get(line.dataset.seriesId);
    line.toggleAttribute("data-chosen", Boolean(role));
    line.querySelector(".use").textContent = role
      ? fill(page.texts.in_use, { role })
      : (leftOut[line.dataset.seriesId] ?? "");
  }
}

render();
