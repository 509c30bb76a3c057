// Datasets and new runs: created, filled, sealed, renamed, deleted, started.
import { call, patch, post, remove } from "../api.js";
import { $, $$, refresh } from "../refresh.js";
import * as options from "./options_form.js";
import * as uploads from "./uploads.js";

const POLL_MS = 5000;

export function start() {
  uploads.listen();
  document.addEventListener("submit", submitted);
  document.addEventListener("change", sayPicked);
  document.addEventListener("click", clicked);
  document.addEventListener("refreshed", () => { uploads.showAll(); sayPicked(); });
  $("#run-options")?.addEventListener("toggle", (event) => options.fill(event.target));
  sayPicked();
  setInterval(() => { if (!document.hidden) refresh("#runs", "#dataset-list").catch(() => {}); }, POLL_MS);
}

function sayPicked() {
  const n = $$("#start-run [name=dataset]:checked").length;
  const label = $("#picked");
  if (label) label.textContent = n === 0 ? "choose one dataset or more" : n === 1 ? "on 1 dataset" : `on ${n} datasets together`;
}

async function submitted(event) {
  const work = { "create-dataset": createDataset, "start-run": startRun }[event.target.id];
  if (!work) return;
  event.preventDefault();
  const output = $("output[role=alert]", event.target);
  output.textContent = "";
  await work(event.target).catch((error) => { output.textContent = error.message; });
}

async function createDataset(form) {
  const given = Object.fromEntries(new FormData(form));
  const body = {
    title: given.title,
    kind: given.holds,
    sample: { name: given.title, formula: given.formula, group: given.group, standard: Boolean(given.standard) },
    absorber: { element: given.element, edge: given.edge },
    orientation: given.orientation === "auto" ? "auto" : Number(given.orientation),
  };
  if (given.distance_m) body.distance_m = Number(given.distance_m);
  if (given.pixel_um) body[given.holds === "images" ? "pixel_size_m" : "detector_pixel_size_m"] = Number(given.pixel_um) * 1e-6;
  if (given.kind) body.probe = { kind: given.kind, ...(given.fwhm_nm ? { fwhm_m: Number(given.fwhm_nm) * 1e-9 } : {}) };
  await post("/datasets", body);
  form.reset();
  $("#new-dataset").open = false;
  await refresh("#dataset-list");
}

async function startRun(form) {
  const datasets = $$("[name=dataset]:checked", form).map((box) => box.value);
  if (!datasets.length) throw new Error("Tick the datasets that the run shall analyse.");
  const run = await post("/runs", { datasets, name: form.elements.name.value, options: await options.given(form) });
  location.assign(`/?run=${run.id}`);
}

const ACTIONS = { seal, rename, delete: deleteIt, again: (button, item) => againWith(item, {}) };

async function clicked(event) {
  const button = event.target.closest("button[data-work]");
  if (!button) return;
  const message = button.closest("[data-item]")?.querySelector("[role=alert]");
  try {
    await ACTIONS[button.dataset.work](button, button.closest("[data-item]")?.dataset.item);
    if (message) message.textContent = "";
  } catch (error) {
    if (!message) throw error;
    message.textContent = error.message;
  }
}

/** Ask once more, on the button itself: true at the second press. */
function isConfirmed(button, question) {
  if (button.dataset.asked) return true;
  button.dataset.asked = "yes";
  const words = button.textContent;
  button.textContent = question;
  button.addEventListener("blur", () => { button.textContent = words; delete button.dataset.asked; }, { once: true });
  button.focus();
  return false;
}

async function seal(button, item) {
  const n = uploads.underWay(item.split("/").at(-1));
  if (n && !isConfirmed(button, `${n} file${n > 1 ? "s" : ""} on the way: seal all the same?`)) return;
  await post(`${item}/seal`);
  await refresh("#dataset-list");
}

async function rename(button, item) {
  const field = item.startsWith("/runs") ? "name" : "title";
  const place = button.closest("[data-item]").querySelector("[data-name]");
  const input = Object.assign(document.createElement("input"), { value: place.textContent, maxLength: 200, className: "rename" });
  input.setAttribute("aria-label", `New ${field}`);
  place.replaceWith(input);
  input.focus();
  input.select();
  await new Promise((resolve) => {
    input.addEventListener("keydown", (event) => {
      if (event.key === "Escape") input.value = place.textContent;
      if (event.key === "Enter") event.preventDefault();
      if (["Escape", "Enter"].includes(event.key)) input.blur();
    });
    input.addEventListener("blur", resolve, { once: true });
  });
  const wanted = input.value.trim();
  input.replaceWith(place);
  if (!wanted || wanted === place.textContent) return;
  const found = await patch(item, { [field]: wanted });
  place.textContent = found[field];
  await refresh("#runs", "#dataset-list");
}

async function deleteIt(button, item) {
  if (!isConfirmed(button, item.startsWith("/runs") ? "Delete it with its results?" : "Delete it with its scans?")) return;
  await remove(item);
  location.assign("/");
}

/** Put the options and datasets of a run into the form of a new one, with other values for some options of its stages. */
export async function againWith(item, changes) {
  const run = await call(item);
  const form = $("#start-run");
  const changed = Object.entries(changes).map(([stage, values]) => [stage, { ...run.options[stage], ...values }]);
  await options.take($("#run-options"), { ...run.options, ...Object.fromEntries(changed) });
  $("#run-options").open = true;
  $$("[name=dataset]", form).forEach((box) => { box.checked = run.datasets.includes(box.value); });
  form.elements.name.value = run.name;
  sayPicked();
  form.scrollIntoView({ block: "start" });
  form.elements.name.focus({ preventScroll: true });
}
