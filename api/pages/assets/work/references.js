// The reference spectra that the project keeps: boxes for those a run uses, and a field to keep more.
import { call } from "../api.js";

/** Boxes and a field of files beside `input`, which holds the names of the spectra that are used, separated by commas. */
export function keptReferences(input) {
  const both = document.createElement("div");
  const boxes = Object.assign(document.createElement("fieldset"), { className: "kept" });
  const legend = Object.assign(document.createElement("legend"), { textContent: "Kept spectra" });
  const label = Object.assign(document.createElement("label"), { textContent: "Keep spectra (XDI, Athena .prj or .nor, columns)" });
  const files = Object.assign(document.createElement("input"), { type: "file", multiple: true, name: "keep-references" });
  const said = document.createElement("small");
  said.setAttribute("role", "status");
  label.append(files, said);
  both.append(boxes, label);

  const named = () => input.value.split(",").map((name) => name.trim()).filter((name) => name !== "");

  async function show() {
    const { items } = await call("/references");
    const used = new Set(named());
    boxes.replaceChildren(legend, ...items.map((spectrum) => box(spectrum, used.has(spectrum.name))));
    boxes.hidden = !items.length;
  }

  function box(spectrum, isUsed) {
    const choice = Object.assign(document.createElement("label"), { className: "check", title: spectrum.fault || spectrum.title });
    const tick = Object.assign(document.createElement("input"), {
      type: "checkbox", value: spectrum.name, checked: isUsed, disabled: Boolean(spectrum.fault),
    });
    tick.addEventListener("change", () => {
      const others = named().filter((name) => name !== spectrum.name);
      input.value = (tick.checked ? [...others, spectrum.name] : others).join(", ");
    });
    choice.append(tick, `${spectrum.name} (${spectrum.element} ${spectrum.edge})`);
    return choice;
  }

  files.addEventListener("change", async () => {
    const found = [], refused = [];
    for (const file of files.files) {
      try {
        const { items } = await call(`/references/${encodeURIComponent(nameOf(file))}`, { method: "PUT", body: file });
        found.push(...items.map((spectrum) => spectrum.name));
      } catch (error) { refused.push(`${file.name}: ${error.message}`); }
    }
    input.value = [...new Set([...named(), ...found])].join(", ");
    files.value = "";
    said.textContent = [found.length ? `Kept: ${found.join(", ")}.` : "", ...refused].filter(Boolean).join(" ");
    await show();
  });
  input.addEventListener("input", show);
  show();
  return both;
}

/** A name that the service takes, from that of a file. */
const nameOf = (file) => file.name.replace(/\.[^.]*$/, "").replace(/[^A-Za-z0-9._+-]+/g, "-").replace(/^[^A-Za-z0-9]+/, "").slice(0, 128) || "reference";
