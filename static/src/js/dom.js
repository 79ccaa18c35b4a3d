// The only file that changes the page by markup from the server, and the only
// one that knows which library does it.
import htmx from "htmx.org/dist/htmx.esm.js";

const before = new Set();
const after = new Set();

export function start() {
  // What belongs to the reader survives a patch: folds they opened, and which
  // thread of the list this page shows.
  htmx.registerExtension("heddle", {
    htmx_before_morph_attr: (element, { attrName }) => {
      if (attrName === "open" && element.matches("details[data-keep]")) return false;
      if (attrName === "aria-current" && element.closest(".thread-list")) return false;
      return true;
    },
  });
}

// onPatch calls hooks around every frame of patches.
export function onPatch(hooks) {
  if (hooks.before) before.add(hooks.before);
  if (hooks.after) after.add(hooks.after);
}

// apply takes {seq, regions: [{id, html, into, remove}]}: a region that is there
// is morphed, one that is not is appended to "into". The same frame twice
// changes nothing. The promise is kept when all of them stand.
export function apply(frame) {
  for (const hook of before) hook();
  const done = (frame.regions ?? []).map(patch);
  for (const hook of after) hook();
  return Promise.all(done);
}

function patch({ id, html, into, remove }) {
  const present = document.getElementById(id);
  if (remove) {
    present?.remove();
  } else if (present) {
    if (present.outerHTML !== html) return swap(present, html, "outerMorph");
  } else if (into) {
    const parent = document.getElementById(into);
    if (parent) return swap(parent, html, "beforeend");
  }
}

function swap(target, text, style) {
  return htmx.swap({ target, text, swap: style, sourceElement: target }).catch((error) => console.error("a patch failed", error));
}
