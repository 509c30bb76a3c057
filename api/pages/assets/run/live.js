// A run while it goes on: its state, images and energies follow its events.
import { API, post } from "../api.js";
import { $, refresh } from "../refresh.js";
import { EnergyTable } from "./energies.js";
import { showLog } from "./log.js";
import { showImage } from "./viewer.js";

const MIN_INTERVAL_MS = 800;

export function start() {
  const { run, state } = $("#run").dataset;
  if (!run) return;
  showResults();
  const source = new EventSource(`${API}/runs/${run}/events`);
  const isLive = ["queued", "running"].includes(state);
  const due = throttled(async () => {
    await refresh("#status", "#runs");
    await update();
  });
  showLog(source);
  source.addEventListener("end", async () => {
    source.close();
    if (!isLive) return;
    due.cancel();
    await refresh("#run", "#runs");
    showResults();
  });
  if (isLive) for (const kind of ["state", "stage", "progress", "unit", "note"]) source.addEventListener(kind, due);
  for (const kind of ["change", "input"]) {
    document.addEventListener(kind, (event) => { if (event.target.closest("#viewer") && table?.items.length) showImage(table.items); });
  }
}

let table = null;

/** Energies and images, as far as they have come: the explorer once there are results, single images before. */
async function showResults() {
  const section = $("#energies");
  table = section ? new EnergyTable(section, $("#run").dataset.run) : null;
  const vacuum = $("#vacuum");
  if (vacuum) {
    const [{ start: drawBox }, { againWith }] = await Promise.all([import("./vacuum.js"), import("../work/work.js")]);
    drawBox(vacuum, $("#run").dataset.run, (box) => againWith(`/runs/${$("#run").dataset.run}`, { align: { vacuum_box: box } }));
  }
  const explorer = $("#explore");
  if (explorer) {
    const { start: explore } = await import("../explore/explore.js");
    await explore(explorer, post);
  } else await update();
}

async function update() {
  // a run that has just begun has neither section: the page is asked for them
  if (!$("#energies") && await refresh("#partial") && $("#energies")) table = new EnergyTable($("#energies"), $("#run").dataset.run);
  if (await table?.update()) await showImage(table.items);
}

/** `work`, at most once every `MIN_INTERVAL_MS`, and once more after the last call. */
function throttled(work) {
  let timer = null;
  let isBusy = false;
  let isAsked = false;
  const run = async () => {
    isBusy = true;
    isAsked = false;
    await work().catch(() => {});  // the next event tries again
    isBusy = false;
    if (isAsked) timer = setTimeout(run, MIN_INTERVAL_MS);
  };
  const due = () => {
    if (isBusy) isAsked = true;
    else { clearTimeout(timer); timer = setTimeout(run, MIN_INTERVAL_MS / 4); }
  };
  due.cancel = () => { clearTimeout(timer); isAsked = false; };
  return due;
}
