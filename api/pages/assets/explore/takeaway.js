// What a reader takes along: the view and its spectra as files, and the lines of Python that open just this.
import { categoryColour, table } from "./colours.js";
import { text, ticks } from "./numbers.js";
import { element } from "./plot.js";
import { csv, save, svgAsPng, svgText, tiff } from "./save.js";

const BAR = 100;
const HEAD = 34;

/** Save the image of a panel as `kind`: png, svg, csv or tiff. */
export async function saveImage(panel, kind, run) {
  const { plane, axes, image, energy } = panel.shown;
  const title = titleOf(panel.shown);
  const name = fileName(run, panel.shown.title, image.id, energy === null ? "" : `${text(energy, 1)}-eV`);
  if (kind === "tiff") save(`${name}.tiff`, tiff(plane, title, axes.pixel), "image/tiff");
  if (kind === "csv") save(`${name}.csv`, imageRows(plane, axes, title), "text/csv");
  if (kind === "svg") save(`${name}.svg`, svgText(picture(panel, title)), "image/svg+xml");
  if (kind === "png") save(`${name}.png`, await svgAsPng(picture(panel, title)), "image/png");
}

/** Save the drawn spectra as `kind`: png, svg or csv. */
export async function saveSpectra(spectra, kind, run) {
  const svg = spectra.drawing.querySelector("svg");
  const name = fileName(run, "spectra");
  if (kind === "csv") save(`${name}.csv`, csv(spectra.rows()), "text/csv");
  if (kind === "svg") save(`${name}.svg`, svgText(svg), "image/svg+xml");
  if (kind === "png") save(`${name}.png`, await svgAsPng(svg), "image/png");
}

const fileName = (...parts) => parts.filter(Boolean).join("-").replace(/[^\p{L}\p{N}._-]+/gu, "-");

function titleOf({ image, title, energy }) {
  const unit = image.unit ? ` [${image.unit}]` : "";
  return `${image.title}${unit}, ${title}${energy === null ? "" : ` at ${text(energy, 1)} eV`}`;
}

/** A table of the image: x [m] along the first row, y [m] down the first column. */
const imageRows = ({ values, width, height }, { y, x }, title) => csv([
  [`# ${title}; first row x [m], first column y [m]`],
  ["", ...x],
  ...Array.from({ length: height }, (_, row) => [y[row], ...values.subarray(row * width, (row + 1) * width)]),
]);

/** The panel as a drawing of its own: title, image with areas and scale bar, colour bar or key. */
function picture(panel, title) {
  const [width, height] = [panel.canvas.clientWidth, panel.canvas.clientHeight];
  const svg = element("svg", {
    xmlns: "http://www.w3.org/2000/svg", width: width + BAR, height: height + HEAD, viewBox: `0 0 ${width + BAR} ${height + HEAD}`,
    "font-family": "system-ui, sans-serif", "font-size": 12, fill: "currentColor",
  });
  svg.append(element("rect", { width: "100%", height: "100%", fill: "white" }));
  svg.append(element("text", { x: 8, y: 22, "font-size": 14, "font-weight": 600 }, title));
  const image = element("image", { x: 0, y: HEAD, width, height });
  image.setAttribute("href", raster(panel, 2).toDataURL());
  svg.append(image, panel.shown.isCategory ? key(panel.shown, width) : colourBar(panel.shown, width, height));
  return svg;
}

function raster(panel, scale) {
  const canvas = document.createElement("canvas");
  canvas.width = panel.canvas.clientWidth * scale;
  canvas.height = panel.canvas.clientHeight * scale;
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  panel.paintOn(context);
  return canvas;
}

function colourBar({ limits, colourMap }, left, height) {
  const group = element("g");
  const colours = table(colourMap);
  const [top, length] = [HEAD + 12, height - 24];
  for (let i = 0; i < 64; i++) {
    const k = 3 * Math.round((i / 63) * 255);
    const fill = `rgb(${colours[k]},${colours[k + 1]},${colours[k + 2]})`;
    group.append(element("rect", { x: left + 10, y: top + length - ((i + 1) * length) / 64, width: 16, height: length / 64 + 0.5, fill }));
  }
  const marks = ticks(...limits, 6);
  for (const value of marks) {
    const y = top + length - ((value - limits[0]) / (limits[1] - limits[0] || 1)) * length;
    group.append(element("line", { x1: left + 26, x2: left + 30, y1: y, y2: y, stroke: "currentColor" }));
    group.append(element("text", { x: left + 33, y: y + 4 }, text(value, 10 * (marks[1] - marks[0]))));
  }
  return group;
}

function key({ categories, plane, image }, left) {
  const group = element("g");
  const present = [...new Set(plane.values)].filter((value) => !Number.isNaN(value) && !(image.id === "label" && value === 0));
  present.sort((a, b) => a - b).forEach((value, i) => {
    group.append(element("rect", { x: left + 8, y: HEAD + 12 + 20 * i, width: 12, height: 12, fill: categoryColour(value || 12) }));
    group.append(element("text", { x: left + 25, y: HEAD + 22 + 20 * i }, categories[value] ?? String(value)));
  });
  return group;
}

/** Lines of Python that open what the view shows: its images, and the mean spectra of its pixels and boxes. */
export function pythonLines(url, panels, areas) {
  const lines = ["import xarray as xr", "", `study = xr.open_datatree("${url}", engine="zarr")`];
  for (const { image, energy, limits, colourMap, isCategory } of panels) {
    const at = energy === null ? image.along === "reference" ? `[${image.plane}]` : "" : `.sel(energy=${text(energy, 0.01)}, method="nearest")`;
    const [low, high] = limits.map((limit) => Number(limit.toPrecision(6)));
    const look = isCategory ? "" : `vmin=${low}, vmax=${high}, cmap="${colourMap}", `;
    lines.push(`study["${image.path}"]${at}.plot(${look}yincrease=False)`);
  }
  for (const { dataset, name, kind, points: [[y0, x0], [y1, x1] = [y0, x0]] } of areas.filter((area) => area.kind !== "polygon")) {
    const range = (a, b) => `${Math.min(a, b)}:${Math.max(a, b) + 1}`;
    const part = kind === "pixel" ? `y=${y0}, x=${x0})` : `y=slice(${range(y0, y1).replace(":", ", ")}), x=slice(${range(x0, x1).replace(":", ", ")})).mean(("y", "x"))`;
    lines.push(`study["${dataset}/spectra/absorption"].isel(${part}.plot(x="energy", marker="o", label="${name}")`);
  }
  return lines.join("\n");
}
