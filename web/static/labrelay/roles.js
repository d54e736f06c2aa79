// The choice of model and phases: what is chosen, why, and what is wrong with it.
import { fill, page } from "./page.js";

const form = document.getElementById("analysis");
const modelChoice = document.getElementById("model");
const offered = new Map(page.choices.map((item) => [item.id, item]));

/** The model that is chosen, as the page's data describe it. */
export function chosenModel() {
  return page.models.find((model) => model.name === modelChoice.value) ?? page.models[0];
}

/** The choice in the model's order: `[{role, label, id}]`; an empty id where none. */
export function choices() {
  const labels = new Map(chosenModel().roles.map((item) => [item.role, item.label]));
  return selects().map((select) => ({
    role: select.dataset.role,
    label: labels.get(select.dataset.role),
    id: select.value,
  }));
}

/** The choice as a request takes it: `[{role, series_id, phase?}]`. */
export function chosenInputs() {
  return choices().map(({ role, id }) => {
    const { series_id, phase } = offered.get(id);
    return phase ? { role, series_id, phase } : { role, series_id };
  });
}

/** The choice as the viewer shows it. */
export function chosenPhases() {
  return shown(choices());
}

/** Inputs of a request as the viewer shows them; what is gone is left out. */
export function asPhases(inputs) {
  return shown(inputs.map(({ role, series_id: series, phase }) => ({ role, id: nameOf(series, phase) })));
}

/** As the server names a phase in addresses. */
function nameOf(series, phase) {
  return phase ? `${series}:${phase.keyword}:${phase.value}` : series;
}

function shown(named) {
  const labels = new Map(page.models.flatMap((m) => m.roles.map((item) => [item.role, item.label])));
  return named
    .filter((item) => offered.has(item.id))
    .map(({ role, id }) => ({ role, label: labels.get(role) ?? role, ...offered.get(id) }));
}

/** What is wrong with the choice by itself, as a sentence, or an empty text. */
export function problem() {
  const chosen = choices().map((item) => item.id);
  if (chosen.some((id) => !id)) {
    return page.texts.choose_all;
  }
  if (new Set(chosen).size < chosen.length) {
    return page.texts.same_series;
  }
  return "";
}

/** Whether the choice is what was proposed. */
export function isProposed() {
  return selects().every((select) => select.value && select.value === select.dataset.proposed);
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
    const use = leftOut[offered.get(select.value)?.series_id];
    const why = [page.texts.by_hand, use].filter(Boolean).join(" ");
    reason.textContent = proposed || !select.value ? select.dataset.reason : why;
    reason.toggleAttribute("data-by-hand", !proposed && Boolean(select.value));
  }
  renderUse(leftOut);
}

/** The last column of the table of series: chosen for what, or why left out. */
function renderUse(leftOut) {
  const roles = new Map();
  for (const { id, label } of choices()) {
    const series = offered.get(id)?.series_id;
    roles.set(series, [...(roles.get(series) ?? []), label]);
  }
  for (const line of document.querySelectorAll("tr[data-series-id]")) {
    const role = roles.get(line.dataset.seriesId)?.join(", ");
    line.toggleAttribute("data-chosen", Boolean(role));
    line.querySelector(".use").textContent = role
      ? fill(page.texts.in_use, { role })
      : (leftOut[line.dataset.seriesId] ?? "");
  }
}

render();
