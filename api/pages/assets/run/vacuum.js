// The empty box of a run whose vacuum was not found: drawn on the field, then put into the form of the next run.
import { API } from "../api.js";
import { $ } from "../refresh.js";

const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

/** Let a box be drawn on the field, by pointer or by keys; `use` receives it as [first row, end row, first column, end column]. */
export function start(section, run, use) {
  const [image, frame, output, button] = ["img", ".frame", "output", "button"].map((what) => $(what, section));
  let corner = null;
  let box = null;
  image.src = `${API}/runs/${run}/images/${section.dataset.dataset}/phase.png?plain=true`;
  image.addEventListener("error", () => { section.hidden = true; });

  const show = (ends) => {
    const [rows, columns] = [0, 1].map((axis) => ends.map((end) => end[axis]).sort((a, b) => a - b));
    box = [rows[0], rows[1] + 1, columns[0], columns[1] + 1];
    const [height, width] = [image.naturalHeight, image.naturalWidth];
    Object.assign(frame.style, {
      top: `${(100 * box[0]) / height}%`, height: `${(100 * (box[1] - box[0])) / height}%`,
      left: `${(100 * box[2]) / width}%`, width: `${(100 * (box[3] - box[2])) / width}%`,
    });
    frame.hidden = button.disabled = false;
    output.textContent = `rows ${box[0]} to ${rows[1]}, columns ${box[2]} to ${columns[1]}`;
  };
  const inside = (value, n) => Math.max(0, Math.min(n - 1, Math.floor(value)));
  const at = (event) => {
    const { top, left, height, width } = image.getBoundingClientRect();
    return [
      inside(((event.clientY - top) / height) * image.naturalHeight, image.naturalHeight),
      inside(((event.clientX - left) / width) * image.naturalWidth, image.naturalWidth),
    ];
  };
  const area = image.parentElement;
  area.addEventListener("pointerdown", (event) => {
    if (event.button || !image.naturalWidth) return;
    area.setPointerCapture(event.pointerId);
    corner = at(event);
    show([corner, corner]);
    event.preventDefault();
    area.focus({ preventScroll: true });
  });
  area.addEventListener("pointermove", (event) => { if (corner) show([corner, at(event)]); });
  for (const end of ["pointerup", "pointercancel"]) area.addEventListener(end, () => { corner = null; });
  area.addEventListener("keydown", (event) => {
    const step = STEPS[event.key];
    if (!step || !image.naturalWidth) return;
    event.preventDefault();
    box ??= [0, 8, 0, 8];
    const far = event.altKey ? 1 : 4;
    const [dy, dx] = step.map((one) => one * far);
    const [top, left] = event.shiftKey ? [box[0], box[2]] : [box[0] + dy, box[2] + dx];
    const ends = [[top, left], [Math.max(top, box[1] - 1 + dy), Math.max(left, box[3] - 1 + dx)]];
    show(ends.map(([y, x]) => [inside(y, image.naturalHeight), inside(x, image.naturalWidth)]));
  });
  button.addEventListener("click", () => use(box));
}
