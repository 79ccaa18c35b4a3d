// The form of a request's arguments: what was changed is shown word by word,
// whoever begins to change something holds the request, and a changed form can't
// be approved as if it were not.
import { announce } from "./announce.js";
import { refresh } from "./reviews.js";
import { words } from "./worddiff.js";

export function start() {
  const form = document.querySelector("[data-review-form]");
  if (!form) return;
  const fields = () => [...form.querySelectorAll("[data-original]")];
  const look = () => {
    for (const field of fields()) show(field);
    offer(fields().some(changed));
  };
  let claimed = false;
  form.addEventListener("input", (event) => {
    if (!("original" in event.target.dataset)) return;
    const raw = event.target.name === "raw";
    const choice = form.querySelector(`input[name="use"][value="${raw ? "raw" : "form"}"]`);
    if (choice) choice.checked = true;
    look();
    if (!claimed) claim();
    claimed = true;
  });
  look();
}

const changed = (field) => value(field) !== original(field);

// A form sends its lines with other ends than the page shows; both are one.
const value = (field) => (field.tagName === "SELECT" ? label(field, field.value) : field.value);
const original = (field) => (field.tagName === "SELECT" ? label(field, field.dataset.original) : field.dataset.original);

function label(select, wanted) {
  return [...select.options].find((option) => option.value === wanted)?.textContent ?? wanted;
}

function show(field) {
  const place = field.closest(".field").querySelector("[data-diff]");
  if (!place) return;
  place.replaceChildren();
  if (!changed(field)) return;
  const box = Object.assign(document.createElement("div"), { className: "diff" });
  for (const { kind, text } of words(original(field), value(field))) {
    const part = document.createElement(kind === "same" ? "span" : kind);
    if (kind === "same") part.textContent = text;
    else part.append(hidden(kind === "ins" ? "[added: " : "[removed: "), text, hidden("] "));
    box.append(part);
  }
  place.append(box);
}

function hidden(text) {
  return Object.assign(document.createElement("span"), { className: "sr-only", textContent: text });
}

function offer(dirty) {
  const approve = document.getElementById("decide-approve");
  const edit = document.getElementById("decide-edit");
  if (approve && edit) {
    approve.disabled = dirty;
    approve.title = dirty ? "You changed the arguments: choose Edit and approve, or put back what was proposed." : "";
    edit.classList.toggle("btn-primary", dirty);
    edit.classList.toggle("btn-plain", !dirty);
  }
}

async function claim() {
  const form = document.getElementById("review-claim");
  const state = document.getElementById("review-state");
  if (!form || !state || "mine" in state.dataset) return;
  try {
    const response = await fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)), headers: { Accept: "application/json" } });
    if (!response.ok) announce((await response.json()).detail);
  } catch {
    // Holding is a courtesy: the decision itself says who was faster.
  }
  refresh();
}
