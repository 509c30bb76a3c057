// Spectra of the chosen areas: asked of the service, drawn with errors, fit and residual, told in a table.
import { box, request } from "./areas.js";
import { areaColour } from "./colours.js";
import { withError } from "./numbers.js";
import { plot } from "./plot.js";

const RATIOS = { electron_ratio: "electrons per absorber", pre_edge_ratio: "pre-edge ratio [eV]" };
const DASHES = ["6 3", "2 2", "8 3 2 3", "1 3"];

export class Spectra {
  #known = new Map();
  #asked = 0;
  #ahead = new Set();

  /** In `root`; `ask(body)` sends areas to the service; `removed(index)` is called when the reader takes an area away. */
  constructor(root, { ask, removed, titles }) {
    Object.assign(this, { root, ask, removed, titles });
    this.drawing = root.querySelector(".drawing");
    this.list = root.querySelector(".areas tbody");
    this.message = root.querySelector("[role=status]");
    new ResizeObserver(() => this.draw()).observe(this.drawing);
  }

  /** Show the spectra of `areas`; those that are new are asked of the service. */
  async show(areas, { quantity, energy, references }) {
    Object.assign(this, { areas, quantity, energy, references });
    const asked = ++this.#asked;
    const missing = areas.filter((area) => !this.#known.has(keyOf(area)));
    this.root.hidden = areas.length === 0;
    if (missing.length) {
      this.message.textContent = "Reading the spectra …";
      try {
        const { items } = await this.ask({ areas: missing.map(request) });
        items.forEach((found, i) => this.#known.set(keyOf(missing[i]), found));
      } catch (error) {
        if (asked === this.#asked) this.message.textContent = error.message;
        return;
      }
      if (asked !== this.#asked) return;
    }
    this.message.textContent = "";
    this.#tell();
    this.draw();
  }

  /** Let the service read a dataset's spectra once the pointer is over its map, in column `x` of all rows, for which it
   *  reads every part of the images: the first click then waits for no disk. */
  readAhead(dataset, x, height) {
    if (this.#ahead.has(dataset)) return;
    this.#ahead.add(dataset);
    const column = { dataset, name: "", ...box([0, x], [height - 1, x]) };
    this.ask({ areas: [request(column)] }).catch(() => this.#ahead.delete(dataset));
  }

  /** Area and spectrum of each area whose spectrum is known. */
  found() {
    return (this.areas ?? []).flatMap((area) => {
      const spectrum = this.#known.get(keyOf(area));
      return spectrum ? [{ area, spectrum }] : [];
    });
  }

  draw() {
    const found = this.found();
    if (!found.length || !this.drawing.clientWidth) return;
    const isAbsorption = this.quantity === "absorption";
    const points = found.map(({ area, spectrum }) => ({
      colour: areaColour(area.index), energy: spectrum.energy_ev, values: spectrum[this.quantity], sigma: spectrum[`${this.quantity}_sigma`],
    }));
    const fitted = found.filter(({ spectrum }) => isAbsorption && spectrum.fit);
    const lines = fitted.map(({ area, spectrum: { fit } }) => ({ colour: areaColour(area.index), energy: fit.curve_energy_ev, values: fit.curve, isLine: true }));
    const label = isAbsorption ? "Absorption" : "Phase [rad]";
    const panels = [{ label, height: 250, series: [...this.#referenceLines(fitted), ...lines, ...points] }];
    if (fitted.length) {
      const residuals = fitted.map(({ area, spectrum }) => ({
        colour: areaColour(area.index), energy: spectrum.energy_ev, values: spectrum.fit.residual, sigma: spectrum.absorption_sigma,
      }));
      panels.push({ label: "Residual", height: 90, series: residuals, zero: true });
    }
    const title = `${label} of ${found.map(({ area }) => area.name).join(", ")} against energy`;
    this.drawing.replaceChildren(plot({ width: Math.max(300, this.drawing.clientWidth), panels, title, marker: this.energy }));
  }

  /** Reference spectra on the offset and jump of the first fit. */
  #referenceLines(fitted) {
    if (!fitted.length) return [];
    const { offset, edge_jump: jump } = fitted[0].spectrum.fit.parameters;
    return this.references.map(({ energy, values }, i) => ({
      colour: "currentColor", dashed: DASHES[i % DASHES.length], isLine: true, energy,
      values: values.map((value) => (Number.isFinite(value) ? offset + jump * value : null)),
    }));
  }

  #tell() {
    const several = new Set(this.areas.map((area) => area.dataset)).size > 1;
    this.list.replaceChildren(...this.found().map(({ area, spectrum }) => {
      const row = document.createElement("tr");
      const name = document.createElement("th");
      name.scope = "row";
      const mark = document.createElement("span");
      mark.className = "mark";
      mark.style.background = areaColour(area.index);
      name.append(mark, several ? `${area.name}, ${this.titles[area.dataset]}` : area.name);
      const edge = spectrum.fit ? withError(spectrum.fit.parameters.edge_energy, spectrum.fit.sigma.edge_energy) : "–";
      const cells = [
        area.kind === "pixel" ? `row ${area.points[0][0]}, column ${area.points[0][1]}` : `${spectrum.n_pixels} pixels, ${spectrum.n_kept} with maps`,
        edge, ...Object.keys(RATIOS).map((key) => (spectrum.ratios[key] ? withError(...spectrum.ratios[key]) : "–")),
      ].map((words) => Object.assign(document.createElement("td"), { textContent: words }));
      if (!spectrum.fit) cells[1].title = spectrum.fit_refused;
      const remove = Object.assign(document.createElement("button"), { type: "button", className: "plain", textContent: "Remove" });
      remove.setAttribute("aria-label", `Remove area ${area.name}`);
      remove.addEventListener("click", () => this.removed(area.index));
      const last = document.createElement("td");
      last.append(remove);
      row.append(name, ...cells, last);
      return row;
    }));
  }

  /** The spectra as rows of a table, with a header. */
  rows() {
    const found = this.found();
    const columns = ["absorption", "absorption_sigma", "phase", "phase_sigma"];
    const header = ["energy_ev", ...found.flatMap(({ area }) => [...columns, "fit_residual"].map((name) => `${area.name} ${name}`))];
    const energies = [...new Set(found.flatMap(({ spectrum }) => spectrum.energy_ev))].sort((a, b) => a - b);
    const at = (spectrum, energy) => spectrum.energy_ev.indexOf(energy);
    return [header, ...energies.map((energy) => [energy, ...found.flatMap(({ spectrum }) => {
      const i = at(spectrum, energy);
      return [...columns.map((name) => spectrum[name][i]), spectrum.fit?.residual[i]];
    })])];
  }
}

const keyOf = ({ dataset, kind, points }) => JSON.stringify([dataset, kind, points]);
