// The published results of a run: its Zarr store, read chunk by chunk from the service as it lies on the disk.
import { FetchStore, get, open, root, withConsolidatedMetadata } from "../vendor/zarrita-0.7.5.js";

const GROUPS = ["maps", "spectra", "domains", "references"];
const MAX_PLANES = 160;

export class Results {
  #store;
  #arrays;
  #planes = new Map();

  /** Open the store at `path`; one request brings the metadata of all arrays. */
  static async open(path) {
    const results = new Results();
    const url = new URL(path, location.href).href;
    results.#store = await withConsolidatedMetadata(new FetchStore(url), { format: "v3" });
    results.#arrays = new Set(results.#store.contents().filter((item) => item.kind === "array").map((item) => item.path));
    return results;
  }

  has(path) { return this.#arrays.has(`/${path}`); }

  #open(path) { return open.v3(root(this.#store).resolve(`/${path}`), { kind: "array" }); }

  /** All values of a small array, e.g. a coordinate. */
  async values(path) {
    const { data } = await get(await this.#open(path));
    return Array.from(data);
  }

  /** Images of a dataset: name, title, unit, and the dimension along which there are several, if any. */
  async images(dataset) {
    const found = [];
    for (const group of GROUPS) {
      const prefix = `/${dataset}/${group}/`;
      for (const path of [...this.#arrays].filter((path) => path.startsWith(prefix))) {
        const array = await this.#open(path.slice(1));
        const dims = array.dimensionNames ?? [];
        if (dims.at(-2) !== "y" || dims.at(-1) !== "x" || dims.length > 3) continue;
        const name = path.slice(prefix.length);
        const id = group === "references" ? `references/${name}` : name;
        const unit = array.attrs.units === "1" ? "" : array.attrs.units ?? "";
        found.push({ id, group, path: path.slice(1), unit, along: dims.length === 3 ? dims[0] : "", attrs: array.attrs, dtype: array.dtype });
      }
    }
    return found;
  }

  /** Pixel centres of a dataset's images [m]. */
  async axes(dataset) {
    const group = GROUPS.find((group) => this.has(`${dataset}/${group}/y`));
    const [y, x] = await Promise.all([this.values(`${dataset}/${group}/y`), this.values(`${dataset}/${group}/x`)]);
    return { y, x, pixel: Math.abs(y[1] - y[0]) };
  }

  /** One image (height, width) in 32-bit floats, NaN where there is nothing; kept for the next time. */
  plane(image, index = 0) {
    const key = `${image.path} ${image.along ? index : ""}`;
    if (!this.#planes.has(key)) {
      this.#planes.set(key, this.#read(image, index).catch((error) => { this.#planes.delete(key); throw error; }));
      if (this.#planes.size > MAX_PLANES) this.#planes.delete(this.#planes.keys().next().value);
    }
    return this.#planes.get(key);
  }

  async #read(image, index) {
    const array = await this.#open(image.path);
    const { data, shape } = await get(array, image.along ? [index, null, null] : null);
    const values = data instanceof Float32Array ? data : Float32Array.from(data, Number);
    return { values, height: shape[0], width: shape[1] };
  }
}
