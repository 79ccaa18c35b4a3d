// Screen readers hear when an answer begins and ends, not each piece of it.
let last = document.getElementById("status")?.dataset.run;

const words = {
  working: (who) => `${who} is answering.`,
  idle: (who) => `${who} has finished.`,
  failed: (who) => `The answer of ${who} failed.`,
  waiting: (who) => `${who} is waiting for a review.`,
};

export function announceRun() {
  const status = document.getElementById("status");
  if (!status || status.dataset.run === last) return;
  last = status.dataset.run;
  const text = words[last]?.(status.dataset.assistant || "The assistant");
  if (text) announce(text);
}

export function announce(text) {
  const region = document.querySelector("[data-announce]");
  if (region) region.textContent = text;
}
