// What is shown, and the fragment of the address that says so: a link shows the same.

const SEPARATOR = "~";
const number = (given) => (given === "" || given === undefined || !Number.isFinite(Number(given)) ? null : Number(given));

/** What is shown where the address says nothing. */
export const emptyView = () => ({
  panels: [], energy: null, zoom: { scale: 1, y: 0, x: 0 }, domains: false, hold: true, areas: [], quantity: "absorption",
});

export function encode(view) {
  const words = new URLSearchParams();
  for (const { dataset, image, colourMap, limits } of view.panels) {
    const ends = limits ? limits.map((end) => Number(end.toPrecision(7))) : [];
    words.append("panel", [dataset, image, colourMap ?? "", ...ends].join(SEPARATOR));
  }
  if (view.energy !== null) words.set("energy", String(Number(view.energy.toFixed(3))));
  const { scale, y, x } = view.zoom;
  if (scale !== 1) words.set("zoom", [scale, y * 1e9, x * 1e9].map((value) => Number(value.toFixed(2))).join(SEPARATOR));
  if (view.domains) words.set("domains", "1");
  if (!view.hold) words.set("limits", "each");
  if (view.quantity !== "absorption") words.set("quantity", view.quantity);
  for (const { dataset, name, kind, points } of view.areas) {
    const corners = points.flat().map((value) => Number(value.toFixed(1)));
    words.append("area", [dataset, name, kind, ...corners].join(SEPARATOR));
  }
  return words.toString();
}

export function decode(fragment) {
  const words = new URLSearchParams(fragment.replace(/^#/, ""));
  const view = emptyView();
  view.panels = words.getAll("panel").map((word) => {
    const [dataset, image, colourMap, low, high] = word.split(SEPARATOR);
    const limits = [number(low), number(high)];
    return { dataset, image, colourMap: colourMap || null, limits: limits.includes(null) ? null : limits };
  });
  view.energy = number(words.get("energy") ?? "");
  const zoom = (words.get("zoom") ?? "").split(SEPARATOR).map(number);
  if (zoom.length === 3 && !zoom.includes(null)) view.zoom = { scale: zoom[0], y: zoom[1] / 1e9, x: zoom[2] / 1e9 };
  view.domains = words.has("domains");
  view.hold = words.get("limits") !== "each";
  view.quantity = words.get("quantity") === "phase" ? "phase" : "absorption";
  for (const word of words.getAll("area")) {
    const [dataset, name, kind, ...corners] = word.split(SEPARATOR);
    const flat = corners.map(number);
    const points = Array.from({ length: flat.length / 2 }, (_, i) => [flat[2 * i], flat[2 * i + 1]]);
    const fewest = { pixel: 1, box: 2, polygon: 3 }[kind];
    if (fewest && points.length >= fewest && !flat.includes(null)) view.areas.push({ dataset, name, kind, points });
  }
  return view;
}
