// Sections that the server renders are fetched again and put in place, so that the templates are the one source of truth.

export const $ = (selector, root = document) => root.querySelector(selector);
export const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

/** Put fresh content into the sections of these selectors; folds stay open, boxes ticked, and the focus where it is. True where
 * one changed. */
export async function refresh(...selectors) {
  const response = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!response.ok) return false;
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  const changed = selectors.filter((selector) => replace($(selector), $(selector, fresh)));
  if (changed.length) document.dispatchEvent(new CustomEvent("refreshed"));
  return changed.length > 0;
}

function replace(old, next) {
  if (!old || !next || (sent.get(old) ?? old.innerHTML) === next.innerHTML) return false;
  sent.set(old, next.innerHTML);
  const open = $$("details", old).map((fold) => fold.open);
  const ticked = new Set($$("[name=dataset]:checked", old).map((box) => box.value));
  const focused = old.contains(document.activeElement) ? document.activeElement : null;
  const wanted = focused && told(focused);
  old.replaceChildren(...next.childNodes);
  for (const [name, value] of Object.entries(next.dataset)) old.dataset[name] = value;
  $$("details", old).forEach((fold, i) => { if (i in open) fold.open = open[i]; });
  $$("[name=dataset]", old).forEach((box) => { box.checked ||= ticked.has(box.value); });
  if (focused) $$(focused.localName, old).find((one) => told(one) === wanted)?.focus();
  return true;
}

/** What tells an element from others of its kind: its id, else its name, value or address and the item it belongs to. */
function told(element) {
  const value = element.type === "file" ? "" : element.value;
  return element.id || [element.name, value, element.href, element.closest("[data-item]")?.dataset.item].join("\n");
}

/** What the server sent last for a section: what scripts have added to it since is no change. */
const sent = new WeakMap();
