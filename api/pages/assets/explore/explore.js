// The explorer of a run's results: panels, energy slider, areas and their spectra, and the address that names the view.
import { nextName } from "./areas.js";
import { categoriesOf, fill, isCategorical } from "./choices.js";
import { COLOUR_MAPS, defaultColourMap } from "./colours.js";
import { Limits } from "./limits.js";
import { percentiles, text } from "./numbers.js";
import { Panel } from "./panel.js";
import { Results } from "./results.js";
import { Spectra } from "./spectra.js";
import { pythonLines, saveImage, saveSpectra } from "./takeaway.js";
import { decode, encode } from "./view.js";

const MAX_PANELS = 2;

/** Start the explorer in `root`, whose data name the run's store and its datasets; `post` sends JSON to the service. */
export async function start(root, post) {
  const message = root.querySelector("[data-message]");
  try {
    message.textContent = "Opening the results …";
    const explorer = new Explorer(root, post);
    await explorer.open();
    message.textContent = "";
    root.querySelector("[data-explorer]").hidden = false;
    await explorer.update();
  } catch (error) {
    message.textContent = `The results cannot be shown: ${error.message}`;
  }
}

export class Explorer {
  #panels = [];
  #datasets = new Map();
  #written = false;

  constructor(root, post) {
    this.root = root;
    this.titles = JSON.parse(root.dataset.titles);
    this.datasets = Object.entries(this.titles).map(([id, title]) => ({ id, title }));
    this.names = JSON.parse(root.dataset.names);
    this.slider = root.querySelector("[name=energy]");
    this.spectra = new Spectra(root.querySelector("[data-spectra]"), {
      ask: (body) => post(`/runs/${root.dataset.run}/spectra`, body),
      removed: (index) => this.change({ areas: this.view.areas.filter((_, i) => i !== index) }),
      titles: this.titles,
    });
  }

  async open() {
    this.results = await Results.open(this.root.dataset.results);
    for (const { id } of this.datasets) await this.#load(id);
    this.datasets = this.datasets.filter(({ id }) => this.#datasets.has(id));
    if (!this.datasets.length) throw new Error("they hold no images");
    await this.#loadReferences();
    this.view = this.#possible(decode(location.hash));
    this.#listen();
  }

  async #load(id) {
    const images = await this.results.images(id);
    if (!images.length) return;
    const byEnergy = images.some((image) => image.along === "energy");
    const energies = byEnergy ? await this.results.values(`${id}/spectra/energy`) : [];
    const mixed = images.some((image) => image.along === "reference");
    const compounds = mixed ? await this.results.values(`${id}/references/reference`) : [];
    const axes = await this.results.axes(id);
    const shown = images.flatMap((image) => (image.along === "reference"
      ? compounds.map((name, plane) => ({ ...image, id: `${image.id}:${name}`, plane, title: `${name}: ${image.attrs.long_name}` }))
      : [{ ...image, title: this.names[image.id] ?? capital(image.attrs.long_name ?? image.id) }]));
    this.#datasets.set(id, { images: shown, energies, axes });
  }

  async #loadReferences() {
    this.references = [];
    if (!this.results.has("references/absorption")) return;
    const [names, energy, flat] = await Promise.all(["reference", "energy", "absorption"].map((name) => this.results.values(`references/${name}`)));
    this.references = names.map((name, i) => ({ name, energy, values: flat.slice(i * energy.length, (i + 1) * energy.length) }));
    const box = this.root.querySelector("[data-references]");
    box.hidden = false;
    box.append(...this.references.map(({ name }, i) => {
      const label = document.createElement("label");
      const input = Object.assign(document.createElement("input"), { type: "checkbox", name: "reference", value: i });
      label.append(input, ` ${name}`);
      return label;
    }));
  }

  /** The view with everything taken out of it that this run does not have. */
  #possible(view) {
    view.panels = view.panels.filter(({ dataset, image }) => this.#image(dataset, image)).slice(0, MAX_PANELS);
    if (!view.panels.length) view.panels = [this.#first(this.datasets[0].id)];
    view.areas = view.areas.filter(({ dataset }) => this.#datasets.has(dataset));
    return view;
  }

  #image(dataset, id) { return this.#datasets.get(dataset)?.images.find((image) => image.id === id); }

  #first(dataset) {
    const { images } = this.#datasets.get(dataset);
    const wanted = ["edge_energy", "absorption"].find((id) => this.#image(dataset, id));
    return { dataset, image: wanted ?? images[0].id, colourMap: null, limits: null };
  }

  change(changes) {
    Object.assign(this.view, changes);
    return this.update();
  }

  /** Show the view, and write it into the address. */
  async update() {
    const { view } = this;
    while (this.#panels.length > view.panels.length) this.#panels.pop().root.remove();
    while (this.#panels.length < view.panels.length) this.#panels.push(this.#makePanel(this.#panels.length));
    this.root.querySelector("[data-panels]").classList.toggle("two", view.panels.length > 1);
    this.#showControls();
    const chosen = [...this.root.querySelectorAll("[name=reference]:checked")].map((box) => this.references[Number(box.value)]);
    const energy = this.#hasEnergy() ? this.#energy(view.panels[0].dataset) : null;
    const areas = view.areas.map((area, index) => ({ ...area, index }));
    const spectra = this.spectra.show(areas, { quantity: view.quantity, energy, references: chosen });  // asked before the images are painted
    await Promise.all(this.#panels.map((panel, i) => this.#showPanel(panel, i)));
    this.#write();
    await spectra;
  }

  #hasEnergy() { return this.view.panels.some(({ dataset, image }) => this.#image(dataset, image).along === "energy"); }

  /** Index of the measured energy of a dataset that is nearest to the one shown. */
  #index(dataset) {
    const { energies } = this.#datasets.get(dataset);
    if (this.view.energy === null) return energies.length - 1;
    const away = energies.map((energy) => Math.abs(energy - this.view.energy));
    return away.indexOf(Math.min(...away));
  }

  #energy(dataset) { return this.#datasets.get(dataset).energies[this.#index(dataset)] ?? null; }

  #showControls() {
    const { view, slider } = this;
    const { dataset } = view.panels[0];
    const { energies } = this.#datasets.get(dataset);
    slider.max = Math.max(0, energies.length - 1);
    slider.value = this.#index(dataset);
    const shown = energies.length ? `${text(this.#energy(dataset), 1)} eV` : "";
    slider.setAttribute("aria-valuetext", shown);
    this.root.querySelector("[data-energy]").hidden = !this.#hasEnergy() || energies.length < 2;
    this.root.querySelector("[name=shown]").textContent = shown;
    this.root.querySelector("[name=domains]").checked = view.domains;
    this.root.querySelector("[data-domains]").hidden = !view.panels.some((panel) => this.#image(panel.dataset, "label"));
    this.root.querySelector("[name=hold]").checked = view.hold;
    this.root.querySelector(`[name=quantity][value=${view.quantity}]`).checked = true;
    const second = this.root.querySelector("[data-do=second]");
    second.textContent = view.panels.length > 1 ? "One panel" : "Second panel";
  }

  #makePanel(i) {
    const root = this.root.querySelector("template").content.cloneNode(true).firstElementChild;
    this.root.querySelector("[data-panels]").append(root);
    const events = {
      zoomed: (zoom) => this.change({ zoom }),
      pointed: (place) => this.#point(i, place),
      drew: (area) => this.#addArea(i, area),
    };
    const panel = new Panel(root.querySelector("canvas.map"), root.querySelector("output"), events);
    panel.root = root;
    panel.limits = new Limits(root.querySelector(".limits"), (limits) => { this.view.panels[i].limits = limits; this.update(); });
    const [datasets, images, colourMaps] = ["dataset", "image", "colourMap"].map((name) => root.querySelector(`[name=${name}]`));
    datasets.append(...this.datasets.map(({ id, title }) => new Option(title, id)));
    datasets.closest("label").hidden = this.datasets.length < 2;
    colourMaps.append(...COLOUR_MAPS.map((name) => new Option(name.replace("gray_r", "grey"), name)));
    datasets.addEventListener("change", () => this.#choose(i, { dataset: datasets.value }));
    images.addEventListener("change", () => this.#choose(i, { image: images.value, colourMap: null, limits: null }));
    colourMaps.addEventListener("change", () => this.#choose(i, { colourMap: colourMaps.value }));
    root.querySelector("[data-do=auto]").addEventListener("click", () => this.#choose(i, { limits: null }));
    for (const [act, factor] of [["in", 1.5], ["out", 1 / 1.5]]) {
      root.querySelector(`[data-do=${act}]`).addEventListener("click", () => panel.zoomBy(factor));
    }
    root.querySelectorAll("[data-save]").forEach((button) => button.addEventListener("click", () => saveImage(panel, button.dataset.save, this.root.dataset.name)));
    root.querySelector("[data-do=whole]").addEventListener("click", () => this.change({ zoom: { scale: 1, y: 0, x: 0 } }));
    return panel;
  }

  #choose(i, changes) {
    const chosen = Object.assign(this.view.panels[i], changes);
    if (!this.#image(chosen.dataset, chosen.image)) Object.assign(chosen, this.#first(chosen.dataset));
    this.update();
  }

  async #showPanel(panel, i) {
    const chosen = this.view.panels[i];
    const { images, axes } = this.#datasets.get(chosen.dataset);
    const image = this.#image(chosen.dataset, chosen.image);
    const about = { image, axes, title: this.titles[chosen.dataset], energy: image.along === "energy" ? this.#energy(chosen.dataset) : null };
    const asked = (panel.asked = (panel.asked ?? 0) + 1);
    const [plane, sigma, labels] = await Promise.all([this.#plane(chosen, image), this.#sigma(chosen, image), this.#labels(chosen)]);
    if (asked !== panel.asked) return;  // a later step of the slider came first
    const isCategory = isCategorical(image);
    const limits = chosen.limits ?? await this.#limits(image, plane, chosen);
    const colourMap = chosen.colourMap ?? defaultColourMap(image.id);
    const categories = isCategory ? categoriesOf(image) : null;
    const areas = this.view.areas.map((area, index) => ({ ...area, index })).filter((area) => area.dataset === chosen.dataset);
    const tool = this.root.querySelector("[name=tool]:checked").value;
    fill(panel.root, { chosen, images, colourMap, isCategory, categories, plane });
    panel.canvas.setAttribute("aria-label", `${image.title} of ${about.title}`);
    panel.show({ ...about, plane, sigma, limits, colourMap, isCategory, categories, labels, zoom: this.view.zoom, areas, tool });
    if (!isCategory) panel.limits.show(plane, limits, colourMap, image.unit);
    if (image.along === "energy") this.#prefetch(image, this.#index(chosen.dataset));
  }

  #plane({ dataset }, image) {
    return this.results.plane(image, image.along === "energy" ? this.#index(dataset) : image.plane ?? 0);
  }

  #sigma({ dataset }, image) {
    const found = image.along ? null : this.#image(dataset, `${image.id}_sigma`);
    return found ? this.results.plane(found) : null;
  }

  #labels({ dataset }) {
    const found = this.view.domains ? this.#image(dataset, "label") : null;
    return found ? this.results.plane(found) : null;
  }

  /**
   * Limits that leave out 1 % at either end: of this image alone, or, where limits are held, of the first and the last energy and of
   * all datasets of which a panel shows the same image.
   */
  async #limits(image, plane, { image: id }) {
    if (!this.view.hold) return percentiles(plane.values, 0.01, 0.99);
    const datasets = new Set(this.view.panels.filter((panel) => panel.image === id).map((panel) => panel.dataset));
    const ends = [...datasets].flatMap((dataset) => {
      const own = this.#image(dataset, id);
      const last = this.#datasets.get(dataset).energies.length - 1;
      return own.along === "energy" ? [0, last].map((index) => this.results.plane(own, index)) : [this.#plane({ dataset }, own)];
    });
    const found = (await Promise.all(ends)).map(({ values }) => percentiles(values, 0.01, 0.99));
    return [Math.min(...found.map(([low]) => low)), Math.max(...found.map(([, high]) => high))];
  }

  /** Read the neighbours of an energy ahead, so that a step of the slider waits for nothing. */
  #prefetch(image, index) {
    const last = Number(this.slider.max);
    for (const next of [index - 1, index + 1, index + 2]) if (next >= 0 && next <= last) this.results.plane(image, next).catch(() => {});
  }

  #point(i, place) {
    const { dataset } = this.view.panels[i];
    if (place) this.spectra.readAhead(dataset, place[1], this.#panels[i].shown.plane.height);
    this.#panels.forEach((panel, k) => {
      if (!panel.shown) return;
      const { height, width } = panel.shown.plane;
      const isThere = place && (k === i || (this.view.panels[k].dataset === dataset && place[0] < height && place[1] < width));
      panel.point(isThere ? place : null);
    });
  }

  #addArea(i, area) {
    const { dataset } = this.view.panels[i];
    const replaces = area.kind === "pixel" && !this.root.querySelector("[name=collect]").checked;
    const areas = this.view.areas.filter((other) => !(replaces && other.kind === "pixel" && other.dataset === dataset));
    areas.push({ ...area, dataset, name: nextName(areas) });
    this.change({ areas });
  }

  #listen() {
    const on = (name, kind, work) => this.root.querySelectorAll(`[name=${name}]`).forEach((node) => node.addEventListener(kind, () => work(node)));
    on("energy", "input", (slider) => this.change({ energy: this.#datasets.get(this.view.panels[0].dataset).energies[Number(slider.value)] }));
    on("domains", "change", (box) => this.change({ domains: box.checked }));
    on("hold", "change", (box) => { this.view.panels.forEach((panel) => { panel.limits = null; }); this.change({ hold: box.checked }); });
    on("tool", "change", () => this.update());
    on("reference", "change", () => this.update());
    on("quantity", "change", (choice) => this.change({ quantity: choice.value }));
    this.root.querySelector("[data-do=second]").addEventListener("click", () => this.#toggleSecond());
    this.root.querySelectorAll("[data-save-spectra]").forEach((button) => button.addEventListener("click", () => {
      saveSpectra(this.spectra, button.dataset.saveSpectra, this.root.dataset.name);
    }));
    this.root.querySelector("[data-do=clear]").addEventListener("click", () => this.change({ areas: [] }));
    addEventListener("hashchange", () => {
      if (location.hash.slice(1) === encode(this.view)) return;
      this.view = this.#possible(decode(location.hash));
      this.update();
    });
  }

  /** A second panel shows the next dataset, or the absorption of the only one. */
  #toggleSecond() {
    const { panels } = this.view;
    if (panels.length > 1) panels.pop();
    else {
      const other = this.datasets.find(({ id }) => id !== panels[0].dataset);
      const second = other && this.#image(other.id, panels[0].image)
        ? { ...panels[0], dataset: other.id }
        : { ...panels[0], image: panels[0].image === "absorption" ? "phase" : "absorption", colourMap: null, limits: null };
      panels.push(second);
    }
    this.update();
  }

  /** At most one change of the address a frame: browsers refuse many. */
  #write() {
    if (this.#written) return;
    this.#written = true;
    setTimeout(() => {
      this.#written = false;
      history.replaceState(null, "", `#${encode(this.view)}`);
      const shown = this.#panels.flatMap(({ shown }) => shown ?? []);
      const url = new URL(this.root.dataset.results, location.href).href.replace(/\/$/, "");
      document.querySelector("#open-code").textContent = pythonLines(url, shown, this.view.areas);
    }, 200);
  }
}

const capital = (words) => words.charAt(0).toUpperCase() + words.slice(1);
