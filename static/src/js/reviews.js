// What shows requests for review is read anew when the socket says that they
// changed: the queue, the number in the rail, and who holds the open request.
import { announce } from "./announce.js";
import * as dom from "./dom.js";

const list = () => document.getElementById("review-list");
const rows = () => [...(list()?.querySelectorAll(".review-row") ?? [])];

// watched says whether the page shows anything of requests: only reviewers have
// the number in the rail.
export function watched() {
  return document.getElementById("review-count") !== null;
}

let due = 0;
let last = 0;

// refresh reads at once for the first hint, then at most twice a second.
export function refresh() {
  due ||= setTimeout(read, Math.max(0, 500 - (Date.now() - last)));
}

async function read() {
  due = 0;
  last = Date.now();
  try {
    if (list()) await readList();
    else await readInto("review-count", "/reviews?fragment=count");
    const request = document.querySelector("[data-review]");
    if (request) await readState(request.dataset.review);
  } catch {
    // Away for the moment; the next hint or join reads it.
  }
}

async function readInto(id, address) {
  const response = await fetch(address, { headers: { Accept: "text/html" } });
  if (!response.ok || response.redirected) return false;
  await dom.apply({ regions: [{ id, html: await response.text() }] });
  return true;
}

// The focus is the selection: it stays on its row, and if that is gone, goes to
// the one that came in its place.
async function readList() {
  const query = new URLSearchParams(location.search);
  query.set("fragment", "list");
  query.delete("decided");
  const at = rows().indexOf(document.activeElement);
  const held = at < 0 ? "" : document.activeElement.id;
  const before = list().dataset.open;
  if (!(await readInto("review-list", `${location.pathname}?${query}`))) return;
  if (held) {
    const now = rows();
    const row = document.getElementById(held) ?? now[Math.min(at, now.length - 1)];
    if (row && row !== document.activeElement) row.focus();
  }
  const open = Number(list().dataset.open);
  const count = document.getElementById("review-count");
  if (count) {
    count.textContent = open > 99 ? "99+" : open || "";
    count.hidden = open === 0;
  }
  if (list().dataset.open !== before) announce(open === 1 ? "One request waits for a review." : `${open || "No"} requests wait for a review.`);
}

async function readState(id) {
  const state = document.getElementById("review-state");
  const closed = state?.dataset.closed;
  await readInto("review-state", `/reviews/${id}?fragment=state`);
  const now = document.getElementById("review-state")?.dataset.closed;
  if (!now || now === closed) return;
  announce(now);
  for (const button of document.querySelectorAll(".request-bar button")) {
    button.disabled = true;
    button.title = now;
  }
}

// move goes up or down in the queue, from its start if nothing is selected.
export function move(step) {
  const all = rows();
  if (all.length === 0) return false;
  const at = all.indexOf(document.activeElement);
  const next = all[at < 0 ? (step > 0 ? 0 : all.length - 1) : Math.max(0, Math.min(all.length - 1, at + step))];
  next.focus();
  next.scrollIntoView({ block: "nearest" });
}

// edit goes to the first argument.
export function edit() {
  const field = document.querySelector("[data-review-form] :is(input:not([type=hidden]), textarea, select)");
  if (!field) return false;
  field.focus();
}

// panel opens a panel of the bar and goes to its words.
export function panel(name) {
  const details = document.getElementById(`${name}-panel`);
  if (!details) return false;
  details.open = true;
  details.querySelector("textarea").focus();
}
