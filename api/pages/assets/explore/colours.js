// Colour maps, as they are in matplotlib, and colours of categories and areas.

const STOPS = {
  viridis: "44015448186a472d7b4240863b528b33638d2c728e26828e21918c1fa08828ae803fbc735ec96284d44baddc30d8e219fde725",
  cividis: "00224e002e6a1a386f32436d434e6c535a6d61656f6f70737d7c788c88789b9476aba072bcae6ccdbb63dec958f0d846fee838",
  plasma: "0d08873105974c02a16600a77e03a89511a1aa2395bc3587cc4778da5a6ae66c5cf0804ef89540fdac33fdc527f8df25f0f921",
  magma: "0000040a08221d114736106b51127c6a1c818326819c2e7fb73779d0416fe75263f56b5cfc8961fea772fec488fde2a3fcfdbf",
  gray_r: "ffffffefefefdfdfdfcfcfcfbfbfbfafafaf9f9f9f8f8f8f7f7f7f6f6f6f5f5f5f4f4f4f3f3f3f2f2f2f1f1f1f0f0f0f000000",
  bone: "0000000e0e131c1c272a2a3a38384e464661545574626882707b907e8f9e8ca2ac9ab5baa9c8c8bfd6d6d5e4e4eaf2f2ffffff",
};

export const COLOUR_MAPS = Object.keys(STOPS);

const CHOSEN = {
  absorption: "gray_r", phase: "bone", electron_ratio: "plasma", residual: "magma",
  pre_edge_ratio: "cividis", pre_edge_height: "cividis", pre_edge_area: "cividis", white_line_height: "cividis",
};

/** The colour map that a quantity has where none is chosen. */
export const defaultColourMap = (name) => CHOSEN[name] ?? (name.endsWith("_sigma") ? "magma" : "viridis");

const AREA_COLOURS = ["#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"];
export const areaColour = (i) => AREA_COLOURS[i % AREA_COLOURS.length];

/** Colours of categories 1..12, as in the figures. */
const CATEGORY_COLOURS = [
  "#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#F0E442", "#000000", "#882255", "#999933", "#332288", "#AAAAAA",
];
export const categoryColour = (i) => CATEGORY_COLOURS[(i + CATEGORY_COLOURS.length - 1) % CATEGORY_COLOURS.length];

const channels = (hex) => [0, 2, 4].map((i) => parseInt(hex.slice(i, i + 2), 16));

/** 256 colours (red, green, blue) of a colour map. */
export function table(name) {
  const hex = STOPS[name] ?? STOPS.viridis;
  const stops = Array.from({ length: hex.length / 6 }, (_, i) => channels(hex.slice(6 * i, 6 * i + 6)));
  const found = new Uint8Array(256 * 3);
  for (let i = 0; i < 256; i++) {
    const place = (i / 255) * (stops.length - 1);
    const k = Math.min(Math.floor(place), stops.length - 2);
    for (let c = 0; c < 3; c++) found[3 * i + c] = Math.round(stops[k][c] + (place - k) * (stops[k + 1][c] - stops[k][c]));
  }
  return found;
}

/** The image in colours: values between the limits by the colour map, whole numbers by their category, NaN see-through. */
export function paint(plane, { limits, colourMap, isCategory, hidden = null }) {
  const picture = new ImageData(plane.width, plane.height);
  const pixels = new Uint32Array(picture.data.buffer);
  const colours = isCategory ? null : packed(table(colourMap));
  const [low, high] = limits;
  const scale = 255 / (high - low || 1);
  const categories = Array.from({ length: 13 }, (_, i) => pack(...channels(categoryColour(i || 12).slice(1))));
  for (let i = 0; i < pixels.length; i++) {
    const value = plane.values[i];
    if (Number.isNaN(value) || value === hidden) continue;
    pixels[i] = isCategory ? categories[value] ?? 0 : colours[Math.max(0, Math.min(255, Math.round((value - low) * scale)))];
  }
  return picture;
}

const pack = (r, g, b) => (255 << 24 | b << 16 | g << 8 | r) >>> 0;
const packed = (rgb) => Uint32Array.from({ length: 256 }, (_, i) => pack(rgb[3 * i], rgb[3 * i + 1], rgb[3 * i + 2]));
