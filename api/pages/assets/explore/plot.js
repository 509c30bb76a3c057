// Curves over energy as SVG: points with error bars, lines, axes.
import { decades, text, ticks } from "./numbers.js";

const NAMESPACE = "http://www.w3.org/2000/svg";
const MARGIN = { left: 62, right: 12, top: 10, bottom: 36 };

export function element(name, attributes = {}, content = "") {
  const node = document.createElementNS(NAMESPACE, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (content) node.textContent = content;
  return node;
}

const finite = (values) => values.filter((value) => value !== null && Number.isFinite(value));

function extent(values, padding) {
  const found = finite(values);
  if (!found.length) return [0, 1];
  const [low, high] = [Math.min(...found), Math.max(...found)];
  const room = (high - low || Math.abs(high) || 1) * padding;
  return [low - room, high + room];
}

/**
 * A drawing of panels, one above the other, over a common axis, of energies [eV] where `axis` does not name another.
 *
 * panels: [{ label, height, series: [{ colour, energy, values, sigma?, dashed?, isLine? }], zero?, isLog? }]
 */
export function plot({ width, panels, title, marker = null, axis: axisLabel = "Energy [eV]" }) {
  const height = panels.reduce((sum, panel) => sum + panel.height + 8, 0) + MARGIN.top + MARGIN.bottom;
  const svg = element("svg", {
    xmlns: NAMESPACE, width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": title,
    "font-family": "system-ui, sans-serif", "font-size": 12, fill: "currentColor",
  });
  const [first, last] = extent(panels.flatMap((panel) => panel.series.flatMap((one) => one.energy)), 0.015);
  const x = (energy) => MARGIN.left + ((energy - first) / (last - first)) * (width - MARGIN.left - MARGIN.right);
  let top = MARGIN.top;
  for (const panel of panels) {
    svg.append(drawPanel(panel, x, top, width, marker));
    top += panel.height + 8;
  }
  const axis = element("g", { "text-anchor": "middle" });
  for (const energy of ticks(first, last, Math.max(3, width / 90))) {
    axis.append(element("line", { x1: x(energy), x2: x(energy), y1: top - 8, y2: top - 3, stroke: "currentColor" }));
    axis.append(element("text", { x: x(energy), y: top + 10 }, String(Number(energy.toFixed(3)))));
  }
  axis.append(element("text", { x: (MARGIN.left + width - MARGIN.right) / 2, y: top + 27 }, axisLabel));
  svg.append(axis);
  return svg;
}

function drawPanel(panel, x, top, width, marker) {
  const group = element("g");
  const [scaled, unscaled] = panel.isLog ? [Math.log10, (power) => 10 ** power] : [Number, Number];
  const values = panel.series.flatMap((one) => one.values.flatMap((value, i) => {
    const sigma = one.sigma?.[i] ?? 0;
    return value === null ? [] : [value - sigma, value + sigma];
  }));
  const [low, high] = extent((panel.zero ? [...values, 0] : values).map(scaled), 0.06);
  const y = (value) => top + panel.height - ((scaled(value) - low) / (high - low)) * panel.height;
  const [left, right] = [MARGIN.left, width - MARGIN.right];
  group.append(element("rect", { x: left, y: top, width: right - left, height: panel.height, fill: "none", stroke: "currentColor", "stroke-opacity": 0.35 }));
  const marks = panel.isLog ? decades(unscaled(low), unscaled(high)) : ticks(low, high, Math.max(3, panel.height / 45));
  for (const value of marks) {
    group.append(element("line", { x1: left - 4, x2: left, y1: y(value), y2: y(value), stroke: "currentColor" }));
    group.append(element("text", { x: left - 7, y: y(value) + 4, "text-anchor": "end", "font-size": 11 }, panel.isLog ? String(Number(value.toPrecision(1))) : text(value, 10 * (marks[1] - marks[0]))));
  }
  const middle = top + panel.height / 2;
  group.append(element("text", { x: 13, y: middle, "text-anchor": "middle", transform: `rotate(-90 13 ${middle})` }, panel.label));
  if (panel.zero) group.append(element("line", { x1: left, x2: right, y1: y(0), y2: y(0), stroke: "currentColor", "stroke-dasharray": "3 3", "stroke-opacity": 0.5 }));
  if (marker !== null) group.append(element("line", { x1: x(marker), x2: x(marker), y1: top, y2: top + panel.height, stroke: "currentColor", "stroke-opacity": 0.4 }));
  for (const one of panel.series) group.append(one.isLine ? line(one, x, y) : points(one, x, y));
  return group;
}

function line({ energy, values, colour, dashed }, x, y) {
  const path = energy.flatMap((e, i) => (values[i] === null ? [] : [`${x(e).toFixed(2)} ${y(values[i]).toFixed(2)}`])).join(" L ");
  const dashes = dashed ? { "stroke-dasharray": dashed } : {};
  return element("path", { d: `M ${path}`, fill: "none", stroke: colour, "stroke-width": 1.6, ...dashes });
}

function points({ energy, values, sigma, colour }, x, y) {
  const group = element("g", { fill: colour, stroke: colour });
  energy.forEach((e, i) => {
    if (values[i] === null) return;
    const error = sigma?.[i];
    if (error) group.append(element("line", { x1: x(e), x2: x(e), y1: y(values[i] - error), y2: y(values[i] + error), "stroke-width": 1 }));
    const point = element("circle", { cx: x(e), cy: y(values[i]), r: 2.6, stroke: "none" });
    point.append(element("title", {}, `${text(e, 0.1)} eV: ${text(values[i], error || undefined)}${error ? ` ± ${text(error)}` : ""}`));
    group.append(point);
  });
  return group;
}
