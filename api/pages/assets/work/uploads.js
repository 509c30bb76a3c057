// Files on their way to datasets: one queue a dataset, to which every drop adds.
import { API, sentence } from "../api.js";
import { $, $$, refresh } from "../refresh.js";

const N_AT_ONCE = 2;
const queues = new Map();

const scanName = (file) => file.name.replace(/[^A-Za-z0-9._-]+/g, "_").slice(-128).replace(/^[._-]+/, "") || "scan";

/** Send files to a dataset, after those that are on their way already. */
export function add(dataset, files) {
  const queue = queues.get(dataset) ?? { waiting: [], sending: new Map(), done: 0, total: 0, refused: [] };
  queues.set(dataset, queue);
  if (queue.waiting.length + queue.sending.size === 0) Object.assign(queue, { done: 0, total: 0, refused: [] });
  queue.waiting.push(...files);
  queue.total += files.length;
  while (queue.sending.size < N_AT_ONCE && queue.waiting.length) sendNext(dataset, queue);
  show(dataset);
}

/** Number of files of a dataset, or of all, that have not arrived. */
export function underWay(dataset) {
  const wanted = dataset ? [queues.get(dataset)].filter(Boolean) : [...queues.values()];
  return wanted.reduce((n, queue) => n + queue.waiting.length + queue.sending.size, 0);
}

/** Write the state of every queue into the page, which the server may have rendered anew. */
export function showAll() {
  for (const dataset of queues.keys()) show(dataset);
}

async function sendNext(dataset, queue) {
  const file = queue.waiting.shift();
  queue.sending.set(file, 0);
  const refusal = await send(dataset, file, (share) => { queue.sending.set(file, share); show(dataset); });
  queue.sending.delete(file);
  queue.done += 1;
  if (refusal) queue.refused.push(`${file.name}: ${refusal}`);
  if (queue.waiting.length) sendNext(dataset, queue);
  show(dataset);
  await refresh("#dataset-list");
}

/** Why the file was refused; "" where it was taken. XMLHttpRequest, not fetch: only it tells how far an upload has come. */
function send(dataset, file, onShare) {
  return new Promise((resolve) => {
    const request = new XMLHttpRequest();
    request.upload.onprogress = (event) => onShare(event.loaded / (event.total || 1));
    request.onerror = () => resolve("the connection broke; drop the file again");
    request.onload = () => resolve(request.status < 300 ? "" : sentence(JSON.parse(request.responseText)));
    request.open("PUT", `${API}/datasets/${dataset}/scans/${encodeURIComponent(scanName(file))}`);
    request.send(file);
  });
}

function show(dataset) {
  const list = $(`.drop[data-dataset="${dataset}"] .uploads`);
  const queue = queues.get(dataset);
  if (!list) return;
  const lines = queue.refused.map((text) => Object.assign(document.createElement("li"), { className: "fault", textContent: text }));
  if (queue.sending.size) {
    const line = document.createElement("li");
    const shares = [...queue.sending.values()].reduce((sum, share) => sum + share, 0);
    const bar = Object.assign(document.createElement("progress"), { max: queue.total, value: queue.done + shares });
    bar.setAttribute("aria-label", "Files sent");
    line.append(`${Math.min(queue.done + 1, queue.total)} of ${queue.total}: ${[...queue.sending.keys()].map((file) => file.name).join(", ")}`, bar);
    lines.unshift(line);
  }
  list.replaceChildren(...lines);
}

addEventListener("beforeunload", (event) => { if (underWay()) event.preventDefault(); });

/** Take drops on, and files chosen in, every zone of a dataset. */
export function listen() {
  document.addEventListener("change", (event) => {
    const zone = event.target.closest(".drop");
    if (zone && event.target.type === "file") add(zone.dataset.dataset, [...event.target.files]);
  });
  for (const kind of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      const zone = event.target.closest?.(".drop");
      if (!zone && !event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault(); // beside a zone, the browser would leave the page for the file
      if (!zone && kind === "dragover") event.dataTransfer.dropEffect = "none";
      $$(".drop.over").forEach((other) => other.classList.remove("over"));
      zone?.classList.toggle("over", kind === "dragover");
      if (zone && kind === "drop") add(zone.dataset.dataset, [...event.dataTransfer.files]);
    });
  }
}
