// The options of a run as a form, made from their JSON schema: the common ones first, then every other by its stage.
import { call, post } from "../api.js";
import { $, $$ } from "../refresh.js";
import { keptReferences } from "./references.js";

const COMMON = ["preset", "reconstruct.cycles", "domains.n_domains", "kkr.mode", "kkr.start", "chemistry.preset", "references.xdi", "references.names"];
const HEADINGS = {
  reconstruct: "Reconstruction", align: "Grid, gauge and vacuum", kkr: "Kramers-Kronig coupling", fit: "Fit of eq. 1",
  chemistry: "Chemistry", domains: "Domains", references: "Reference spectra",
};

const LABELS = {
  "domains.n_domains": "Domains", "kkr.mode": "Coupling", "kkr.start": "First coupling at cycle", "chemistry.preset": "Constants",
  "references.xdi": "Reference spectra (XDI)", "references.names": "Kept reference spectra",
};

let known = null;

/** Fill `root` with the form, once. */
export async function fill(root) {
  if (known) return;
  known = await call("/options");
  const fields = {};
  for (const [stage, part] of Object.entries(known.schema.properties)) {
    if (!part.$ref) fields[stage] = field(stage, part);
    const { properties } = known.schema.$defs[part.$ref?.split("/").at(-1)] ?? { properties: {} };
    for (const [name, schema] of Object.entries(properties)) fields[`${stage}.${name}`] = field(`${stage}.${name}`, schema);
  }
  $("[data-common]", root).append(...COMMON.filter((path) => fields[path]).map((path) => fields[path]));
  for (const stage of Object.keys(known.schema.properties)) {
    const rest = Object.entries(fields).filter(([path]) => path.startsWith(`${stage}.`) && !COMMON.includes(path));
    if (!rest.length) continue;
    const fold = Object.assign(document.createElement("details"), { className: "fold" });
    const summary = Object.assign(document.createElement("summary"), { textContent: HEADINGS[stage] ?? stage });
    const grid = Object.assign(document.createElement("div"), { className: "fields" });
    grid.append(...rest.map(([, node]) => node));
    fold.append(summary, grid);
    $("[data-all]", root).append(fold);
  }
}

/** The value at a path such as `reconstruct.cycles`, or `preset`, which is no part of a stage. */
const valueAt = (options, path) => path.split(".").reduce((part, name) => part?.[name], options);

function field(path, schema) {
  const name = path.split(".").at(-1);
  const value = valueAt(known.defaults, path);
  const label = document.createElement("label");
  const input = control(path, schema, value);
  const hint = Object.assign(document.createElement("small"), { id: `about-${path}`, textContent: (schema.description ?? "").replaceAll("``", "") });
  input.setAttribute("aria-describedby", hint.id);
  const words = name.replaceAll("_", " ").replace(/ ev$/, " [eV]");
  label.append(LABELS[path] ?? words.charAt(0).toUpperCase() + words.slice(1), input, hint);
  label.title = path;
  if (input.type === "checkbox") label.classList.add("check");
  const beside = BESIDE[path]?.(input);
  if (!beside) return label;
  const both = document.createElement("div");
  both.append(label, beside);
  return both;
}

/** A field for the spectrum of a foil, which gives the number in `input`. */
function foil(input) {
  const label = Object.assign(document.createElement("label"), { textContent: "From the spectrum of a foil (XDI)" });
  const file = Object.assign(document.createElement("input"), { type: "file", accept: ".xdi,text/plain", name: "foil" });
  const said = document.createElement("small");
  said.setAttribute("role", "status");
  file.addEventListener("change", async () => {
    if (!file.files.length) return;
    const dataset = $("#start-run [name=dataset]:checked")?.value;
    said.textContent = "Tick the dataset first: it says which element and edge the foil has.";
    if (!dataset) { file.value = ""; return; }
    try {
      const found = await post(`/datasets/${dataset}/foil`, { xdi: await file.files[0].text() });
      input.value = found.offset_ev;
      said.textContent = `Edge at ${found.edge_ev.toFixed(2)} eV, in the tables at ${found.tabulated_ev.toFixed(2)} eV.`;
    } catch (error) { said.textContent = error.message; }
  });
  label.append(file, said);
  return label;
}

/** What stands beside the field of an option, made from its input. */
const BESIDE = { "align.energy_offset_ev": foil, "references.names": keptReferences };

function control(path, schema, value) {
  let input = document.createElement("input");
  const kind = kindOf(path, schema);
  if (kind === "choice") {
    input = document.createElement("select");
    input.append(...schema.enum.map((choice) => new Option(choice.replaceAll("_", " "), choice)));
  } else if (kind === "switch") input.type = "checkbox";
  else if (kind === "number") {
    Object.assign(input, { type: "number", step: schema.type === "integer" ? 1 : "any", min: schema.minimum ?? "", max: schema.maximum ?? "" });
  } else if (kind === "files") Object.assign(input, { type: "file", multiple: true, accept: ".xdi,text/plain" });
  else input.placeholder = kind === "list" ? "separated by commas" : "";
  input.name = path;
  input.dataset.kind = kind;
  put(input, value);
  return input;
}

function kindOf(path, schema) {
  if (path === "references.xdi") return "files";
  if (schema.enum) return "choice";
  if (schema.type === "boolean") return "switch";
  if (schema.type === "integer" || schema.type === "number") return "number";
  if (schema.type === "array" || schema.anyOf?.some((one) => one.type === "array")) return "list";
  return "word";
}

function put(input, value) {
  if (input.dataset.kind === "switch") input.checked = value;
  else if (input.dataset.kind === "files") input.value = "";
  else input.value = Array.isArray(value) ? value.join(", ") : value ?? "";
}

/** A value as the field has it; undefined where it is empty. */
async function valueOf(input) {
  const text = input.value.trim();
  if (input.dataset.kind === "switch") return input.checked;
  if (input.dataset.kind === "files") return input.files.length ? Promise.all([...input.files].map((file) => file.text())) : undefined;
  if (text === "") return undefined;
  const plain = (word) => (word !== "" && Number.isFinite(Number(word)) ? Number(word) : word);
  if (input.dataset.kind === "list") return text.split(",").map((word) => plain(word.trim())).filter((word) => word !== "");
  return input.dataset.kind === "choice" ? text : plain(text);
}

/** The options that differ from their defaults, by stage. */
export async function given(root) {
  const options = {};
  for (const input of $$("[data-kind]", root)) {
    const [stage, name] = input.name.split(".");
    const value = await valueOf(input);
    if (value === undefined || JSON.stringify(value) === JSON.stringify(valueAt(known.defaults, input.name))) continue;
    if (name) (options[stage] ??= {})[name] = value;
    else options[stage] = value;
  }
  if (kept.xdi?.length && !options.references?.xdi) (options.references ??= {}).xdi = kept.xdi;
  return options;
}

/** Texts of references that were taken over from another run. */
const kept = { xdi: null };

/** Put the options of another run into the form. */
export async function take(root, options) {
  await fill(root);
  for (const input of $$("[data-kind]", root)) {
    put(input, valueAt(options, input.name) ?? valueAt(known.defaults, input.name));
    input.dispatchEvent(new Event("input"));
  }
  kept.xdi = options.references?.xdi ?? null;
}
