// The view follows new text only while the reader is at its end, and only the
// reader's own scrolling decides that: text that grows never does.
import { onPatch } from "./dom.js";

const slack = 48;
let view;
let pill;
let following = true;
let placing = false;

export function start() {
  view = document.querySelector("[data-scroll]");
  if (!view) return;
  pill = document.querySelector("[data-jump]");
  pill?.addEventListener("click", () => {
    follow();
    document.getElementById("composer-text")?.focus({ preventScroll: true });
  });
  toEnd();
  let reader = false;
  // A scroll event tells nothing of its cause. These do.
  for (const kind of ["wheel", "touchmove", "pointerdown", "keydown"]) {
    view.addEventListener(kind, () => { reader = true; }, { passive: true });
  }
  view.addEventListener("scroll", () => {
    if (placing) return;
    if (atEnd()) set(true);
    else if (reader) set(false);
  }, { passive: true });
  // A fold the reader opens grows where they look, not at the end.
  view.addEventListener("click", (event) => {
    if (event.target.closest("summary")) set(false);
  }, { capture: true });
  view.addEventListener("toggle", () => set(atEnd()), { capture: true });
  view.addEventListener("scrollend", () => { reader = false; placing = false; });
  new ResizeObserver(() => { if (following) toEnd(); }).observe(view);
  const content = view.firstElementChild;
  if (content) new ResizeObserver(() => { if (following) toEnd(); }).observe(content);
  onPatch({ after: patched });
}

// follow goes to the end and stays there.
export function follow() {
  if (!view) return;
  set(true);
  toEnd();
}

function patched() {
  if (following) toEnd();
  else if (pill && !atEnd()) pill.hidden = false;
}

function set(on) {
  following = on;
  view.dataset.following = String(on);
  if (on && pill) pill.hidden = true;
}

function atEnd() {
  return view.scrollHeight - view.scrollTop - view.clientHeight < slack;
}

function toEnd() {
  placing = true;
  view.scrollTop = view.scrollHeight;
  requestAnimationFrame(() => { placing = false; });
}
