// One image on a canvas: zoom and pan, the value under the cursor, areas drawn with the pointer or the keys.
import { box, draw as drawArea, pixel, polygon, thinned } from "./areas.js";
import { areaColour, paint } from "./colours.js";
import { roundBelow, text, withError } from "./numbers.js";

const MAX_SCALE = 64;
const KEYS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

export class Panel {
  cursor = null;
  #bitmap = null;
  #gesture = null;
  #line = [];

  /** Over `canvas`; `events` are called with what the reader does: zoomed(zoom), pointed(place | null), drew(area). */
  constructor(canvas, output, events) {
    Object.assign(this, { canvas, output, events });
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", (event) => this.#up(event));
    canvas.addEventListener("pointercancel", () => { this.#gesture = null; });
    canvas.addEventListener("pointerleave", () => events.pointed(null));
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    canvas.addEventListener("keydown", (event) => this.#key(event));
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  /**
   * Show an image.
   *
   * shown: { image, axes, title, energy, plane, sigma, limits, colourMap, isCategory, categories, labels, zoom, areas, tool }
   */
  show(shown) {
    this.shown = shown;
    const hidden = shown.isCategory && shown.image.id === "label" ? 0 : null;
    const canvas = document.createElement("canvas");
    canvas.width = shown.plane.width;
    canvas.height = shown.plane.height;
    canvas.getContext("2d").putImageData(paint(shown.plane, { ...shown, hidden }), 0, 0);
    this.#bitmap = canvas;
    this.draw();
    this.read();
  }

  /** Centre (row, column) and screen pixels a pixel. */
  #frame() {
    const { plane, zoom, axes } = this.shown;
    const fit = Math.min(this.canvas.clientWidth / plane.width, this.canvas.clientHeight / plane.height);
    return {
      scale: fit * zoom.scale,
      y: (plane.height - 1) / 2 + zoom.y / axes.pixel,
      x: (plane.width - 1) / 2 + zoom.x / axes.pixel,
    };
  }

  #place(row, column, frame = this.#frame()) {
    return [this.canvas.clientWidth / 2 + (column - frame.x) * frame.scale, this.canvas.clientHeight / 2 + (row - frame.y) * frame.scale];
  }

  #at(event, frame = this.#frame()) {
    return [(event.offsetY - this.canvas.clientHeight / 2) / frame.scale + frame.y, (event.offsetX - this.canvas.clientWidth / 2) / frame.scale + frame.x];
  }

  draw() {
    const { canvas, shown } = this;
    if (!shown || !canvas.clientWidth) return;
    const ratio = devicePixelRatio;
    canvas.width = Math.round(canvas.clientWidth * ratio);
    canvas.height = Math.round(canvas.clientHeight * ratio);
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    this.paintOn(context);
    if (this.#gesture?.points) drawArea(context, { kind: "polygon", points: this.#gesture.points }, (y, x) => this.#place(y, x), "#D55E00");
    if (this.cursor) this.#drawCursor(context);
  }

  /** The image, the borders of the domains, the areas and the scale bar. */
  paintOn(context) {
    const { plane, labels, areas } = this.shown;
    const frame = this.#frame();
    const [left, top] = this.#place(-0.5, -0.5, frame);
    context.imageSmoothingEnabled = false;
    context.drawImage(this.#bitmap, left, top, plane.width * frame.scale, plane.height * frame.scale);
    if (labels) {
      context.save();
      context.translate(left, top);
      context.scale(frame.scale, frame.scale);
      for (const [style, width] of [["rgb(255 255 255 / 70%)", 2.4], ["#111", 1]]) {
        context.strokeStyle = style;
        context.lineWidth = width / frame.scale;
        context.stroke(labels.borders ??= borders(labels));
      }
      context.restore();
    }
    areas.forEach((area) => drawArea(context, area, (y, x) => this.#place(y, x, frame), areaColour(area.index)));
    this.#drawScaleBar(context, frame);
  }

  #drawScaleBar(context, frame) {
    const perMetre = frame.scale / this.shown.axes.pixel;
    const length = roundBelow((this.canvas.clientWidth * 0.3) / perMetre);
    const [x, y] = [this.canvas.clientWidth - 14 - length * perMetre, this.canvas.clientHeight - 14];
    const words = length >= 0.99e-6 ? `${Math.round(length * 1e6)} µm` : `${Math.round(length * 1e9)} nm`;
    context.font = "600 12px system-ui, sans-serif";
    context.textAlign = "center";
    context.lineWidth = 3;
    const isDark = matchMedia("(prefers-color-scheme: dark)").matches;
    [context.fillStyle, context.strokeStyle] = isDark ? ["white", "#111"] : ["#111", "white"];
    context.strokeRect(x, y, length * perMetre, 4);
    context.fillRect(x, y, length * perMetre, 4);
    context.strokeText(words, x + (length * perMetre) / 2, y - 5);
    context.fillText(words, x + (length * perMetre) / 2, y - 5);
    context.textAlign = "start";
  }

  #drawCursor(context) {
    const frame = this.#frame();
    const [x, y] = this.#place(...this.cursor, frame);
    const half = Math.max(frame.scale / 2, 4);
    for (const [style, width] of [["white", 3], ["#111", 1]]) {
      context.strokeStyle = style;
      context.lineWidth = width;
      context.strokeRect(x - half, y - half, 2 * half, 2 * half);
    }
  }

  /** Put the cursor at (row, column), or nowhere, and say what is there. */
  point(place) {
    this.cursor = place;
    this.draw();
    this.read();
  }

  read() {
    const { plane, axes, image, sigma, categories } = this.shown;
    if (!this.cursor) { this.output.textContent = ""; return; }
    const [row, column] = this.cursor;
    const index = row * plane.width + column;
    const value = plane.values[index];
    const told = categories ? categories[value] ?? String(value) : sigma ? withError(value, sigma.values[index]) : text(value);
    const known = Number.isNaN(value) ? "no value" : `${told}${image.unit && !categories ? ` ${image.unit}` : ""}`;
    const place = [axes.y[row], axes.x[column]].map((metres) => (metres * 1e6).toFixed(3));
    this.output.textContent = `${known} · y ${place[0]} µm, x ${place[1]} µm · row ${row}, column ${column}`;
  }

  #pixelAt(event) {
    const [row, column] = this.#at(event).map(Math.round);
    const { height, width } = this.shown.plane;
    return row >= 0 && column >= 0 && row < height && column < width ? [row, column] : null;
  }

  #down(event) {
    if (!this.shown || event.button > 1) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.canvas.focus({ preventScroll: true });
    const tool = event.button === 1 || event.shiftKey ? "pixel" : this.shown.tool;
    this.#gesture = { tool, start: this.#at(event), from: [event.offsetX, event.offsetY], zoom: this.shown.zoom, moved: false };
    this.#line = [this.#gesture.start];
    event.preventDefault();
  }

  #move(event) {
    if (!this.shown) return;
    this.events.pointed(this.#pixelAt(event));
    const gesture = this.#gesture;
    if (!gesture) return;
    const by = [event.offsetX - gesture.from[0], event.offsetY - gesture.from[1]];
    gesture.moved ||= Math.hypot(...by) > 4;
    if (!gesture.moved) return;
    if (gesture.tool === "pixel") {
      const metres = this.shown.axes.pixel / this.#frame().scale;
      this.events.zoomed({ ...gesture.zoom, y: gesture.zoom.y - by[1] * metres, x: gesture.zoom.x - by[0] * metres });
      return;
    }
    const here = this.#at(event);
    if (gesture.tool === "lasso") this.#line.push(here);
    const [[y0, x0], [y1, x1]] = [gesture.start, here];
    gesture.points = gesture.tool === "lasso" ? this.#line : [[y0, x0], [y0, x1], [y1, x1], [y1, x0]];
    this.draw();
  }

  #up(event) {
    const gesture = this.#gesture;
    this.#gesture = null;
    if (!gesture) return;
    if (!gesture.moved) {
      const place = this.#pixelAt(event);
      if (place) this.events.drew(pixel(...place));
    } else if (gesture.tool === "box") this.events.drew(box(this.#inside(gesture.start), this.#inside(this.#at(event))));
    else if (gesture.tool === "lasso" && this.#line.length > 2) {
      const points = thinned(this.#line);
      if (points.length > 2) this.events.drew(polygon(points));
    }
    this.draw();
  }

  #inside([row, column]) {
    const { height, width } = this.shown.plane;
    return [Math.max(0, Math.min(height - 1, row)), Math.max(0, Math.min(width - 1, column))];
  }

  #wheel(event) {
    if (!this.shown || !(event.ctrlKey || document.activeElement === this.canvas)) return;
    event.preventDefault();
    this.zoomBy(Math.exp(-event.deltaY / 300), this.#at(event));
  }

  /** Enlarge by a factor; `fixed` (row, column) stays where it is. */
  zoomBy(factor, fixed = null) {
    const { zoom, axes, plane } = this.shown;
    const scale = Math.max(1, Math.min(MAX_SCALE, zoom.scale * factor));
    const frame = this.#frame();
    const [row, column] = fixed ?? [frame.y, frame.x];
    const keep = 1 - zoom.scale / scale;
    const centre = { y: frame.y + (row - frame.y) * keep, x: frame.x + (column - frame.x) * keep };
    const offset = (value, n) => (scale === 1 ? 0 : (value - (n - 1) / 2) * axes.pixel);
    this.events.zoomed({ scale, y: offset(centre.y, plane.height), x: offset(centre.x, plane.width) });
  }

  #key(event) {
    if (!this.shown || event.ctrlKey || event.metaKey || event.altKey) return;
    const { height, width } = this.shown.plane;
    const step = KEYS[event.key];
    if (step) {
      const far = event.shiftKey ? 10 : 1;
      const [row, column] = this.cursor ?? [Math.floor(height / 2), Math.floor(width / 2)];
      const limited = (value, n) => Math.max(0, Math.min(n - 1, value));
      this.events.pointed([limited(row + far * step[0], height), limited(column + far * step[1], width)]);
    } else if (event.key === "Enter" && this.cursor) this.events.drew(pixel(...this.cursor));
    else if (event.key === "+" || event.key === "=") this.zoomBy(1.5, this.cursor);
    else if (event.key === "-") this.zoomBy(1 / 1.5, this.cursor);
    else if (event.key === "0") this.events.zoomed({ scale: 1, y: 0, x: 0 });
    else return;
    event.preventDefault();
  }
}

/** Path along the borders of the domains, in pixels from the image's corner. */
function borders({ values, width, height }) {
  const path = new Path2D();
  const at = (row, column) => values[row * width + column];
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const here = at(row, column);
      if (column + 1 < width && at(row, column + 1) !== here) { path.moveTo(column + 1, row); path.lineTo(column + 1, row + 1); }
      if (row + 1 < height && at(row + 1, column) !== here) { path.moveTo(column, row + 1); path.lineTo(column + 1, row + 1); }
    }
  }
  return path;
}
