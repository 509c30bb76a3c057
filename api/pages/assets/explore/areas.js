// Areas of an image: a pixel, a box or a polygon, in pixels (row, column) whose centres lie on whole numbers.

export const pixel = (y, x) => ({ kind: "pixel", points: [[y, x]] });
export const box = (a, b) => ({ kind: "box", points: [a.map(Math.round), b.map(Math.round)] });
export const polygon = (points) => ({ kind: "polygon", points });

/** The area as the service takes it. */
export function request(area) {
  const value = { pixel: () => area.points[0], box: () => area.points.flat(), polygon: () => area.points }[area.kind]();
  return { dataset: area.dataset, name: area.name, [area.kind]: value };
}

/** The outline's corners, at the edges of the pixels. */
export function outline({ kind, points }) {
  if (kind === "polygon") return points;
  const [[y0, x0], [y1, x1]] = [points[0], points.at(-1)];
  const [top, left, bottom, right] = [Math.min(y0, y1) - 0.5, Math.min(x0, x1) - 0.5, Math.max(y0, y1) + 0.5, Math.max(x0, x1) + 0.5];
  return [[top, left], [top, right], [bottom, right], [bottom, left]];
}

/** Draw an area; `place` takes a row and a column to the canvas. */
export function draw(context, area, place, colour) {
  const corners = outline(area).map(([y, x]) => place(y, x));
  for (const [style, width] of [["rgb(255 255 255 / 85%)", 4], [colour, 2]]) {
    context.strokeStyle = style;
    context.lineWidth = width;
    context.beginPath();
    corners.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
    context.closePath();
    context.stroke();
  }
  if (!area.name) return;
  const right = corners.reduce((best, corner) => (corner[0] - corner[1] > best[0] - best[1] ? corner : best));
  context.font = "600 13px system-ui, sans-serif";
  context.lineWidth = 3;
  context.strokeStyle = "white";
  context.fillStyle = colour;
  context.strokeText(area.name, right[0] + 4, right[1] - 3);
  context.fillText(area.name, right[0] + 4, right[1] - 3);
}

/** The next free name of "A", "B", ... */
export function nextName(areas) {
  const taken = new Set(areas.map((area) => area.name));
  for (let i = 0; ; i++) {
    const name = String.fromCharCode(65 + (i % 26)) + (i < 26 ? "" : Math.floor(i / 26));
    if (!taken.has(name)) return name;
  }
}

/** Fewer corners for the same line: those nearer than `tolerance` pixels to the last kept one are left out. */
export function thinned(points, tolerance = 0.7) {
  const kept = [points[0]];
  for (const point of points) if (Math.hypot(point[0] - kept.at(-1)[0], point[1] - kept.at(-1)[1]) > tolerance) kept.push(point);
  return kept;
}
