// What is on the screen, as files: PNG, SVG, CSV, TIFF.

export function save(name, content, type) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

/** Lines of comma-separated values; text with a comma or quote is quoted. */
export const csv = (rows) => rows.map((row) => row.map(field).join(",")).join("\n") + "\n";

function field(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "";
  const plain = String(value);
  return /[",\n]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
}

/** An SVG on the page as a file of its own, its ink made explicit. */
export function svgText(svg) {
  const copy = svg.cloneNode(true);
  copy.setAttribute("color", "#1d2428");
  return new XMLSerializer().serializeToString(copy);
}

/** An SVG on the page as PNG, twice its size, on white. */
export async function svgAsPng(svg) {
  const image = new Image();
  image.src = `data:image/svg+xml,${encodeURIComponent(svgText(svg))}`;
  await image.decode();
  const canvas = document.createElement("canvas");
  canvas.width = 2 * Number(svg.getAttribute("width"));
  canvas.height = 2 * Number(svg.getAttribute("height"));
  const context = canvas.getContext("2d");
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  return pngOf(canvas);
}

export const pngOf = (canvas) => new Promise((resolve) => { canvas.toBlob(resolve, "image/png"); });

/** A baseline TIFF of one image in 32-bit floats (TIFF 6.0, section 8), with its description and pixel size [m]. */
export function tiff({ values, width, height }, description, pixel) {
  const words = new TextEncoder().encode(`${description}\0`);
  const perCentimetre = Math.round(0.01 / pixel);
  const entries = [
    [256, 4, 1, width], [257, 4, 1, height], [258, 3, 1, 32], [259, 3, 1, 1], [262, 3, 1, 1], [270, 2, words.length, "words"],
    [273, 4, 1, "data"], [277, 3, 1, 1], [278, 4, 1, height], [279, 4, 1, values.byteLength], [282, 5, 1, "resolution"],
    [283, 5, 1, "resolution"], [296, 3, 1, 3], [339, 3, 1, 3],
  ];
  const after = 8 + 2 + 12 * entries.length + 4;
  const places = { resolution: after, words: after + 8, data: after + 8 + words.length + (words.length % 2) };
  const bytes = new Uint8Array(places.data + values.byteLength);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 0x49492a00);
  view.setUint32(4, 8, true);
  view.setUint16(8, entries.length, true);
  entries.forEach(([tag, type, count, value], i) => {
    const place = 10 + 12 * i;
    view.setUint16(place, tag, true);
    view.setUint16(place + 2, type, true);
    view.setUint32(place + 4, count, true);
    if (type === 3) view.setUint16(place + 8, value, true);
    else view.setUint32(place + 8, typeof value === "string" ? places[value] : value, true);
  });
  view.setUint32(places.resolution, perCentimetre, true);
  view.setUint32(places.resolution + 4, 1, true);
  bytes.set(words, places.words);
  bytes.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), places.data);
  return new Blob([bytes], { type: "image/tiff" });
}
