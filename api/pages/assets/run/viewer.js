// Images of a run before it has results: drawn by the service from the last finished round.
import { API } from "../api.js";
import { $ } from "../refresh.js";

/** Draw the chosen image, of one of `energies` ([{dataset}, ...]) that were reconstructed; only where the page has a viewer. */
export async function showImage(energies) {
  const viewer = $("#viewer");
  if (!viewer) return;
  const form = $("form", viewer);
  const dataset = form.elements.dataset;
  const choice = $("[name=variable]:checked", form);
  const source = dataset.selectedOptions ? dataset.selectedOptions[0] : dataset;
  const energiesEv = JSON.parse(source.dataset.energies);
  const slider = form.elements.energy;
  slider.max = Math.max(energiesEv.length - 1, 0);
  slider.closest("label").hidden = energiesEv.length < 2;
  const energy = energiesEv[Number(slider.value)];
  const shown = energy === undefined ? "" : `${energy.toFixed(1)} eV`;
  form.elements.shown.textContent = shown;
  slider.setAttribute("aria-valuetext", shown);
  if (!energies.some((one) => one.dataset === dataset.value)) {
    drawing?.abort();
    $("img", viewer).removeAttribute("src");
    $("figcaption", viewer).textContent = "No energy of this dataset has been reconstructed yet.";
    return;
  }
  const title = `${choice.parentElement.textContent.trim()} at ${shown}`;
  const query = new URLSearchParams({ width: 900, ...(shown ? { energy_ev: energy } : {}) });
  await drawImage(viewer, `/runs/${$("#run").dataset.run}/images/${dataset.value}/${choice.value}.png?${query}`, title);
}

// Fetched rather than set as a source: a picture that changes while its run goes on is asked for again, and where
// there is none the answer says why.
let drawing = null;

async function drawImage(viewer, path, title) {
  drawing?.abort();
  drawing = new AbortController();
  const [image, caption] = [$("img", viewer), $("figcaption", viewer)];
  if (!image.hasAttribute("src")) caption.textContent = "Drawing the image …";
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
