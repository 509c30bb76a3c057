// Starts what the page needs; everything goes through the same HTTP contract as any other client.
import { post } from "./api.js";
import { $ } from "./refresh.js";
import { start as startRun } from "./run/live.js";
import { start as startWork } from "./work/work.js";

startWork();
startRun();

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  const { act, copy } = button.dataset;
  if (act) { await post(`/runs/${$("#run").dataset.run}/${act}`); location.reload(); }
  if (copy) { await navigator.clipboard.writeText($(`#${copy}`).textContent); button.textContent = "Copied"; }
});
