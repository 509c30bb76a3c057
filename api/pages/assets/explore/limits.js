// The limits of a colour map: a histogram under which the two ends can be dragged, stepped by keys, or typed.
import { percentiles, text, ticks } from "./numbers.js";
import { table } from "./colours.js";

const N_BINS = 96;
const MARGIN = 8;

export class Limits {
  #bins = [];
  #range = [0, 1];
  #dragged = null;

  /** In `root`, which has a canvas and two inputs named low and high; `changed(limits)` is called while they move. */
  constructor(root, changed) {
    this.canvas = root.querySelector("canvas");
    this.inputs = [root.querySelector("[name=low]"), root.querySelector("[name=high]")];
    this.changed = changed;
    this.inputs.forEach((input, end) => input.addEventListener("change", () => this.#set(end, Number(input.value))));
    this.canvas.addEventListener("pointerdown", (event) => this.#grab(event));
    this.canvas.addEventListener("pointermove", (event) => this.#drag(event));
    new ResizeObserver(() => this.draw()).observe(this.canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());  // its ink is the page's
    for (const kind of ["pointerup", "pointercancel"]) this.canvas.addEventListener(kind, () => { this.#dragged = null; });
  }

  /** Show how the values of an image are spread, and the limits over it. */
  show(plane, limits, colourMap, unit) {
    const [low, high] = percentiles(plane.values, 0, 1);
    this.#range = [Math.min(low, limits[0]), Math.max(high, limits[1])];
    const width = (this.#range[1] - this.#range[0]) / N_BINS || 1;
    this.#bins = new Array(N_BINS).fill(0);
    for (const value of plane.values) {
      if (Number.isFinite(value)) this.#bins[Math.max(0, Math.min(N_BINS - 1, Math.floor((value - this.#range[0]) / width)))]++;
    }
    Object.assign(this, { limits, colourMap, unit });
    this.draw();
  }

  draw() {
    const { canvas } = this;
    const scale = devicePixelRatio;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (!width || !this.limits) return;
    canvas.width = width * scale;
    canvas.height = height * scale;
    const context = canvas.getContext("2d");
    context.scale(scale, scale);
    const ink = getComputedStyle(canvas).color;
    const colours = table(this.colourMap);
    const top = Math.log1p(Math.max(...this.#bins, 1));
    const base = height - 24;
    const step = (width - 2 * MARGIN) / N_BINS;
    this.#bins.forEach((n, i) => {
      const value = this.#range[0] + ((i + 0.5) / N_BINS) * (this.#range[1] - this.#range[0]);
      const k = 3 * Math.max(0, Math.min(255, Math.round(((value - this.limits[0]) / (this.limits[1] - this.limits[0] || 1)) * 255)));
      context.fillStyle = `rgb(${colours[k]} ${colours[k + 1]} ${colours[k + 2]})`;
      context.fillRect(MARGIN + i * step, base, step + 0.6, 8);
      context.globalAlpha = 0.55;
      context.fillStyle = ink;
      const bar = (Math.log1p(n) / top) * (base - 3);
      context.fillRect(MARGIN + i * step, base - bar - 1, step, bar);
      context.globalAlpha = 1;
    });
    context.fillStyle = context.strokeStyle = ink;
    context.font = "11px system-ui, sans-serif";
    context.textAlign = "center";
    const labels = ticks(...this.#range, Math.max(2, Math.floor(width / 90)));
    for (const value of labels) {
      const words = text(value, 10 * (labels[1] - labels[0]));
      const half = context.measureText(words).width / 2;
      context.fillText(words, Math.max(half, Math.min(width - half, this.#x(value))), height - 3);
    }
    for (const limit of this.limits) {
      context.fillRect(this.#x(limit) - 1, 0, 2, base + 9);
      context.beginPath();
      context.arc(this.#x(limit), 5, 4.5, 0, 7);
      context.fill();
    }
    const digits = Math.max(0, Math.min(12, 3 - Math.floor(Math.log10(this.#range[1] - this.#range[0] || 1))));
    this.inputs.forEach((input, end) => {
      if (document.activeElement !== input) input.value = Number(this.limits[end].toFixed(digits));
      input.step = Number(((this.#range[1] - this.#range[0]) / 50).toPrecision(1)) || "any";
    });
  }

  #x(value) {
    const share = (value - this.#range[0]) / (this.#range[1] - this.#range[0] || 1);
    return MARGIN + share * (this.canvas.clientWidth - 2 * MARGIN);
  }

  #value(event) {
    const share = (event.offsetX - MARGIN) / (this.canvas.clientWidth - 2 * MARGIN);
    return this.#range[0] + Math.max(0, Math.min(1, share)) * (this.#range[1] - this.#range[0]);
  }

  #grab(event) {
    const value = this.#value(event);
    this.#dragged = Math.abs(value - this.limits[0]) <= Math.abs(value - this.limits[1]) ? 0 : 1;
    this.canvas.setPointerCapture(event.pointerId);
    this.#set(this.#dragged, value);
  }

  #drag(event) { if (this.#dragged !== null) this.#set(this.#dragged, this.#value(event)); }

  #set(end, value) {
    if (!Number.isFinite(value)) return;
    const limits = [...this.limits];
    limits[end] = end ? Math.max(value, limits[0]) : Math.min(value, limits[1]);
    this.changed(limits);
  }
}
