// The choices beside a panel: datasets, images, colours, and the key of categories.
import { categoryColour } from "./colours.js";

const HEADINGS = { maps: "Maps", spectra: "Images by energy", domains: "Domains", references: "Mixtures" };
const CATEGORIES = ["label", "status", "mask", "vacuum_mask", "sample_mask"];

export const isCategorical = (image) => CATEGORIES.includes(image.id);

/** Names of an image's whole numbers, as its attributes say (CF flag_values and flag_meanings). */
export function categoriesOf({ attrs, id }) {
  if (attrs.flag_values) {
    const names = attrs.flag_meanings.split(" ");
    return Object.fromEntries(attrs.flag_values.map((value, i) => [value, names[i].replaceAll("_", " ")]));
  }
  if (id === "label") return { 0: "outside", ...Object.fromEntries(Array.from({ length: 12 }, (_, i) => [i + 1, `domain ${i + 1}`])) };
  return id.endsWith("mask") ? { 0: "no", 1: "yes" } : {};
}

/** Choices of a panel, as they are. */
export function fill(root, { chosen, images, colourMap, isCategory, categories, plane }) {
  root.querySelector("[name=dataset]").value = chosen.dataset;
  const select = root.querySelector("[name=image]");
  if (select.dataset.of !== chosen.dataset) {
    select.dataset.of = chosen.dataset;
    select.replaceChildren(...Object.entries(HEADINGS).flatMap(([group, label]) => {
      const options = images.filter((image) => image.group === group).map((image) => new Option(image.title, image.id));
      const heading = Object.assign(document.createElement("optgroup"), { label });
      heading.append(...options);
      return options.length ? [heading] : [];
    }));
  }
  select.value = chosen.image;
  root.querySelector("[name=colourMap]").value = colourMap;
  root.querySelector("[name=colourMap]").closest("label").hidden = isCategory;
  root.querySelector(".limits").hidden = isCategory;
  const key = root.querySelector(".key");
  key.hidden = !isCategory;
  if (!isCategory) return;
  const present = [...new Set(plane.values)].filter((value) => !Number.isNaN(value)).sort((a, b) => a - b);
  key.replaceChildren(...present.filter((value) => !(chosen.image === "label" && value === 0)).map((value) => {
    const item = document.createElement("li");
    const mark = Object.assign(document.createElement("span"), { className: "mark" });
    mark.style.background = categoryColour(value || 12);
    item.append(mark, categories[value] ?? String(value));
    return item;
  }));
}
