// The table of a run's energies and their curves of R.
import { call } from "../api.js";
import { table as colours } from "../explore/colours.js";
import { text } from "../explore/numbers.js";
import { plot } from "../explore/plot.js";
import { $ } from "../refresh.js";

export class EnergyTable {
  items = [];
  #shown = "[]";

  constructor(section, run) {
    Object.assign(this, { section, run });
    this.titles = JSON.parse(section.dataset.titles);
    section.querySelector("details").addEventListener("toggle", () => this.update());
    new ResizeObserver(() => this.#draw()).observe($(".drawing", section));
  }

  /** Ask for the energies, where the table is open. True where they changed. */
  async update() {
    if (!$("details", this.section).open) return false;
    const { items } = await call(`/runs/${this.run}/energies`);
    const shown = JSON.stringify(items);
    if (shown === this.#shown) return false;
    this.#shown = shown;
    this.items = items;
    $("tbody", this.section).replaceChildren(...items.map((item) => this.#row(item)));
    this.#draw();
    return true;
  }

  #row(item) {
    const over = item.noise_r_factor ? item.r_factor / item.noise_r_factor : null;
    const drift = item.drift_px ? Math.hypot(...item.drift_px) : null;
    const cells = [
      item.n_cycles, text(item.r_factor), text(over, 0.1), item.n_modes ?? "–",
      item.resolution_m ? `${Math.round(item.resolution_m * 1e9)}` : "–", text(drift, 0.1), item.warnings.join("; ").replaceAll(`${item.energy_ev.toFixed(1)} eV: `, ""),
    ];
    const row = document.createElement("tr");
    const several = Object.keys(this.titles).length > 1;
    const head = Object.assign(document.createElement("th"), { scope: "row", textContent: `${item.energy_ev.toFixed(1)}${several ? `, ${this.titles[item.dataset] ?? item.dataset}` : ""}` });
    row.append(head, ...cells.map((words) => Object.assign(document.createElement("td"), { textContent: words })));
    return row;
  }

  #draw() {
    const place = $(".drawing", this.section);
    if (!place.clientWidth || !this.items.length) { place.replaceChildren(); return; }
    const map = colours("viridis");
    const energies = this.items.map((item) => item.energy_ev);
    const [low, high] = [Math.min(...energies), Math.max(...energies)];
    const series = this.items.map((item) => {
      const k = 3 * Math.round(((item.energy_ev - low) / (high - low || 1)) * 210);
      return { colour: `rgb(${map[k]},${map[k + 1]},${map[k + 2]})`, energy: item.cycles, values: item.errors.map((value) => (value > 0 ? value : null)), isLine: true };
    });
    const panels = [{ label: "R", height: 190, series, isLog: true }];
    const title = `R against cycle, of ${energies.length} energies, ${low.toFixed(1)} eV dark to ${high.toFixed(1)} eV light`;
    place.replaceChildren(plot({ width: Math.max(300, place.clientWidth), panels, title, axis: "Cycle" }));
  }
}
