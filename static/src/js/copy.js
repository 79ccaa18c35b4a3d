// Copy buttons, also of code that is still being written: the text is read when
// the button is pressed.
import { announce } from "./announce.js";

const sources = {
  code: (button) => button.closest(".code")?.querySelector("pre")?.textContent,
  message: (button) => button.closest(".msg")?.querySelector("template[data-source]")?.content.textContent,
  text: (button) => button.closest("[data-copy-scope]")?.querySelector("[data-copy-text]")?.textContent,
};

export function start() {
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    const text = button && sources[button.dataset.copy]?.(button);
    if (!text) return;
    const done = await write(text);
    tell(button, done ? "Copied" : "Not copied");
  });
}

async function write(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

function tell(button, word) {
  announce(word);
  const label = button.querySelector("span") ?? button;
  const before = label.dataset.label ?? label.textContent;
  label.dataset.label = before;
  label.textContent = word;
  setTimeout(() => {
    if (!label.isConnected) return;
    label.textContent = before;
    delete label.dataset.label;
  }, 1600);
}
