// Keeps the page alive: what the server renders is fetched again and its sections are put in place, so that there
// is one source of truth, the templates. Everything goes through the same HTTP contract as any other client.
const API = "/api/v1";
const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

async function call(path, options = {}) {
  const response = await fetch(API + path, options);
  const text = await response.text();
  const body = text ? JSON.parse(text) : null;
  if (!response.ok) {
    const faults = body.errors.map((fault) => `${fault.field}: ${fault.message}`);
    throw new Error(faults.length ? faults.join("\n") : body.detail);
  }
  return body;
}

const post = (path, body) =>
  call(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body ?? {}) });

// The datasets are left alone while the reader is at work there, unless it is the reader's own work that changed them.
async function refresh(selectors, { isOwnWork = false } = {}) {
  const response = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!response.ok) return;
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const selector of selectors) {
    const old = $(selector);
    const next = $(selector, fresh);
    if (!old || !next || old.innerHTML === next.innerHTML) continue;
    if (selector === "#datasets" && !isOwnWork && isBusy(old)) continue;
    const open = $$("details", old).map((fold) => fold.open);
    const picked = new Set($$("[name=dataset]:checked", old).map((box) => box.value));
    old.replaceChildren(...next.childNodes);
    for (const [name, value] of Object.entries(next.dataset)) old.dataset[name] = value;
    $$("details", old).forEach((fold, i) => { if (i in open) fold.open = open[i]; });
    $$("[name=dataset]", old).forEach((box) => { box.checked ||= picked.has(box.value); });
  }
  sayPicked();
}

const isBusy = (section) =>
  section.contains(document.activeElement) && document.activeElement.type !== "checkbox"
  || $(".uploads li", section) !== null || $(".drop.over", section) !== null;

// Datasets

function sayPicked() {
  const n = $$("#start-run [name=dataset]:checked").length;
  const label = $("#picked");
  if (label) label.textContent = n === 0 ? "choose one dataset or more" : n === 1 ? "on 1 dataset" : `on ${n} datasets together`;
}

async function createDataset(form) {
  const given = Object.fromEntries(new FormData(form));
  const body = {
    title: given.title,
    sample: { name: given.title, formula: given.formula, group: given.group },
    absorber: { element: given.element, edge: given.edge },
  };
  if (given.distance_m) body.distance_m = Number(given.distance_m);
  if (given.pixel_um) body.detector_pixel_size_m = Number(given.pixel_um) * 1e-6;
  if (given.kind) body.probe = { kind: given.kind, ...(given.fwhm_nm ? { fwhm_m: Number(given.fwhm_nm) * 1e-9 } : {}) };
  await post("/datasets", body);
  form.reset();
  $("#new-dataset").open = false;
  await refresh(["#datasets"], { isOwnWork: true });
}

async function startRun(form) {
  const given = new FormData(form);
  const body = {
    datasets: given.getAll("dataset"),
    name: given.get("name"),
    options: {
      reconstruct: { cycles: Number(given.get("cycles")) },
      kkr: { mode: given.get("mode"), start: Number(given.get("start")) },
      chemistry: { preset: given.get("preset") },
      domains: { n_domains: Number(given.get("n_domains")) },
    },
  };
  const run = await post("/runs", body);
  location.assign(`/?run=${run.id}`);
}

const scanName = (file) => file.name.replace(/[^A-Za-z0-9._-]+/g, "_").replace(/^[.-]+/, "") || "scan";

// XMLHttpRequest, not fetch: only it tells how far an upload has come.
function upload(dataset, file, list) {
  const item = document.createElement("li");
  const bar = document.createElement("progress");
  bar.max = file.size || 1;
  bar.value = 0;
  bar.setAttribute("aria-label", `Upload of ${file.name}`);
  item.append(file.name, bar);
  list.append(item);
  return new Promise((resolve) => {
    const request = new XMLHttpRequest();
    request.upload.onprogress = (event) => { bar.value = event.loaded; };
    request.onerror = () => { item.className = "fault"; item.textContent = `${file.name}: the connection broke`; resolve(false); };
    request.onload = () => {
      if (request.status < 300) { item.remove(); resolve(true); return; }
      item.className = "fault";
      item.textContent = `${file.name}: ${JSON.parse(request.responseText).detail}`;
      resolve(false);
    };
    request.open("PUT", `${API}/datasets/${dataset}/scans/${encodeURIComponent(scanName(file))}`);
    request.send(file);
  });
}

async function uploadAll(zone, files) {
  const list = $(".uploads", zone);
  list.replaceChildren();
  for (const file of files) await upload(zone.dataset.dataset, file, list);
  const refused = [...list.children];
  await refresh(["#datasets"], { isOwnWork: true });
  $(`.drop[data-dataset="${zone.dataset.dataset}"] .uploads`)?.append(...refused);
}

// The viewer of maps

function showImage() {
  const viewer = $("#viewer");
  if (!viewer) return;
  const form = $("form", viewer);
  const dataset = form.elements.dataset;
  const choice = $("[name=variable]:checked", form);
  const source = dataset.selectedOptions ? dataset.selectedOptions[0] : dataset;
  const energies = JSON.parse(source.dataset.energies);
  const slider = form.elements.energy;
  const byEnergy = "energy" in choice.dataset;
  slider.max = Math.max(energies.length - 1, 0);
  slider.closest("label").hidden = !byEnergy || energies.length < 2;
  const energy = energies[Number(slider.value)];
  const shown = energy === undefined ? "" : `${energy.toFixed(1)} eV`;
  form.elements.shown.textContent = shown;
  slider.setAttribute("aria-valuetext", shown);
  const title = choice.parentElement.textContent.trim() + (byEnergy ? ` at ${shown}` : "");
  const query = new URLSearchParams({ width: 900, ...(byEnergy && shown ? { energy_ev: energy } : {}) });
  drawImage(viewer, `/runs/${$("#run").dataset.run}/images/${dataset.value}/${choice.value}.png?${query}`, title);
}

// Fetched rather than set as a source: a picture that changes while its run goes on is asked for again, and where
// there is none the answer says why.
let drawing = null;

async function drawImage(viewer, path, title) {
  drawing?.abort();
  drawing = new AbortController();
  const [image, caption] = [$("img", viewer), $("figcaption", viewer)];
  try {
    const response = await fetch(API + path, { cache: "no-cache", signal: drawing.signal });
    if (!response.ok) throw new Error((await response.json()).detail);
    const url = URL.createObjectURL(await response.blob());
    image.onload = () => URL.revokeObjectURL(url);
    image.alt = title;
    image.src = url;
    caption.textContent = title;
  } catch (error) {
    if (error.name === "AbortError") return;
    image.removeAttribute("src");
    caption.textContent = `${title}: ${error.message}`;
  }
}

// The explorer is loaded where a run has results: a page without them needs none of it.

async function explore() {
  const section = $("#explore");
  if (!section) { showImage(); return; }
  const { start } = await import("./explore/explore.js");
  await start(section, post);
}

// Live

function follow() {
  const { run, state } = $("#run").dataset;
  if (!run || !["queued", "running"].includes(state)) return;
  const source = new EventSource(`${API}/runs/${run}/events`);
  let due = null;
  const soon = () => { due ??= setTimeout(() => { due = null; refresh(["#status", "#runs"]); }, 400); };
  const finish = () => { source.close(); clearTimeout(due); refresh(["#run", "#runs"]).then(explore); };
  for (const kind of ["state", "stage", "progress", "unit", "note"]) source.addEventListener(kind, soon);
  source.addEventListener("end", finish);
}

// Wiring: one listener a kind of event on the document, so that replaced sections need none.

const guarded = (output, work) => {
  output.textContent = "";
  work().catch((error) => { output.textContent = error.message; });
};

document.addEventListener("submit", (event) => {
  event.preventDefault();
  if (event.target.id === "create-dataset") guarded($("#dataset-refused"), () => createDataset(event.target));
  if (event.target.id === "start-run") guarded($("#run-refused"), () => startRun(event.target));
});

document.addEventListener("change", (event) => {
  const zone = event.target.closest(".drop");
  if (zone && event.target.type === "file") uploadAll(zone, [...event.target.files]);
  if (event.target.closest("#viewer")) showImage();
  sayPicked();
});

document.addEventListener("input", (event) => { if (event.target.name === "energy") showImage(); });

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  const { seal, act, copy } = button.dataset;
  if (seal) { await post(`/datasets/${seal}/seal`); await refresh(["#datasets"], { isOwnWork: true }); }
  if (act) { await post(`/runs/${$("#run").dataset.run}/${act}`); location.reload(); }
  if (copy) { await navigator.clipboard.writeText($(`#${copy}`).textContent); button.textContent = "Copied"; }
});

for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    const zone = event.target.closest?.(".drop");
    if (!zone) return;
    event.preventDefault();
    zone.classList.toggle("over", kind === "dragover");
    if (kind === "drop") uploadAll(zone, [...event.dataTransfer.files]);
  });
}

sayPicked();
explore();
follow();
setInterval(() => { if (!document.hidden) refresh(["#runs", "#datasets"]); }, 5000);
