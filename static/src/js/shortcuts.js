// One table says what the keys do; the sheet that "?" opens is made from it.
import { announce } from "./announce.js";
import * as reviews from "./reviews.js";

const mac = /Mac|iP(hone|ad)/.test(navigator.platform);
const mod = mac ? "⌘" : "Ctrl";

const table = [
  { keys: [mod, "K"], label: "Search threads", when: (e) => command(e) && !e.shiftKey && e.key.toLowerCase() === "k", run: search },
  { keys: [mod, "Shift", "O"], label: "New thread", when: (e) => command(e) && e.shiftKey && e.key.toLowerCase() === "o", run: () => location.assign("/") },
  { keys: ["Shift", "Esc"], label: "Go to the message box", when: (e) => e.shiftKey && e.key === "Escape", run: write },
  { keys: [mod, "Shift", "Backspace"], label: "Stop the answer", when: (e) => command(e) && e.shiftKey && e.key === "Backspace", run: stop },
  { keys: ["J"], label: "Next in the queue", when: (e) => letter(e, "j"), run: () => reviews.move(1) },
  { keys: ["K"], label: "Previous in the queue", when: (e) => letter(e, "k"), run: () => reviews.move(-1) },
  { keys: ["↓"], label: "Next in the queue", when: (e) => arrow(e, "ArrowDown"), run: () => reviews.move(1) },
  { keys: ["↑"], label: "Previous in the queue", when: (e) => arrow(e, "ArrowUp"), run: () => reviews.move(-1) },
  { keys: ["A"], label: "Approve", when: (e) => letter(e, "a"), run: () => press("decide-approve") },
  { keys: ["E"], label: "Edit the arguments", when: (e) => letter(e, "e"), run: () => reviews.edit() },
  { keys: [mod, "Enter"], label: "Edit and approve", when: (e) => command(e) && e.key === "Enter" && Boolean(e.target.closest?.("[data-review-form]")), run: () => press("decide-edit") },
  { keys: ["S"], label: "Answer instead", when: (e) => letter(e, "s"), run: () => reviews.panel("answer") },
  { keys: ["R"], label: "Reject with a reason", when: (e) => letter(e, "r"), run: () => reviews.panel("reject") },
  { keys: ["C"], label: "Take the request", when: (e) => letter(e, "c"), run: () => pressed(document.querySelector("[data-claim]")) },
  { keys: ["N"], label: "Next request", when: (e) => letter(e, "n"), run: () => pressed(document.querySelector("[data-next]")) },
  { keys: ["?"], label: "This list", when: (e) => e.key === "?" && !typing(e.target), run: sheet },
];
// Keys without Ctrl, ⌘ or Shift and another key; the person may have turned them
// off (WCAG 2.1.4).
const single = table.filter((entry) => entry.keys.length === 1 && !["↓", "↑"].includes(entry.keys[0]));
const told = [
  { keys: ["Enter"], label: "Send the message, open the request" },
  { keys: ["Shift", "Enter"], label: "Start a new line" },
  { keys: ["Esc"], label: "Close what is open" },
];

function active() {
  return document.documentElement.dataset.letterKeys === "off" ? table.filter((entry) => !single.includes(entry)) : table;
}

export function start() {
  const list = document.querySelector("[data-shortcut-list]");
  if (list) {
    for (const { keys, label } of [...active(), ...told]) {
      const term = document.createElement("dt");
      term.textContent = label;
      const detail = document.createElement("dd");
      for (const key of keys) detail.append(Object.assign(document.createElement("kbd"), { textContent: key }));
      list.append(term, detail);
    }
  }
  document.addEventListener("keydown", (event) => {
    if (event.isComposing || event.altKey) return;
    const entry = active().find((e) => e.when(event));
    if (entry && entry.run() !== false) event.preventDefault();
  });
  document.addEventListener("click", (event) => {
    const opener = event.target.closest("[data-dialog]");
    if (opener) open(opener.dataset.dialog);
  });
}

function command(event) {
  return mac ? event.metaKey : event.ctrlKey;
}

// letter tells a single letter that is a command: not while somebody types, and
// not over a dialog.
function letter(event, key) {
  return event.key === key && plain(event);
}

function arrow(event, key) {
  return event.key === key && plain(event) && !event.target.closest?.("[role=region], summary");
}

function plain(event) {
  return !event.ctrlKey && !event.metaKey && !event.shiftKey && !typing(event.target) && !document.querySelector("dialog[open]");
}

function press(id) {
  return pressed(document.getElementById(id));
}

function pressed(button) {
  if (!button) return false;
  if (button.disabled) announce(button.title);
  else button.click();
}

function typing(target) {
  return target.closest?.("input, textarea, select, [contenteditable]") != null;
}

function search() {
  const box = document.getElementById("thread-search");
  if (!box) return false;
  if (!box.offsetParent) location.hash = "threads";
  box.focus();
  box.select();
}

function write() {
  const box = document.getElementById("composer-text");
  if (!box) return false;
  box.focus();
}

function stop() {
  const button = document.querySelector("[data-stop]");
  if (!button) return false;
  button.click();
}

function sheet() {
  return open("shortcuts");
}

function open(id) {
  const dialog = document.getElementById(id);
  if (!dialog || dialog.open) return false;
  for (const menu of document.querySelectorAll("details[data-menu][open]")) menu.open = false;
  dialog.showModal();
}
