// The composer: Enter sends, drafts are kept, nothing written is ever lost.
// Everything here ends in posting the real form.
import { announce } from "./announce.js";
import * as dom from "./dom.js";
import { follow } from "./scroll.js";

export function start() {
  const form = document.querySelector("[data-composer]");
  if (form) new Composer(form).listen();
  // Nobody asks for the keyboard of a phone by opening a page.
  if (form && "follow" in form.dataset && !matchMedia("(pointer: coarse)").matches) document.getElementById("composer-text")?.focus();
  for (const starter of document.querySelectorAll("[data-starter]")) {
    starter.addEventListener("click", (event) => {
      const box = document.getElementById("composer-text");
      if (!box) return;
      event.preventDefault();
      box.value = starter.dataset.starter;
      box.dispatchEvent(new Event("input", { bubbles: true }));
      box.focus();
    });
  }
  // Stop and withdraw: posted in the background, answered by a patch. Without
  // a socket the page reloads to show the outcome.
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-stop], [data-quiet-post]");
    if (!button || !button.form) return;
    event.preventDefault();
    quietly(button);
  });
}

async function quietly(button) {
  button.disabled = true;
  try {
    const answer = await post(button.formAction, new FormData(button.form));
    if (!answer.ok) announce(answer.text);
    else button.closest(".queued-edit")?.removeAttribute("open");
  } catch {
    announce("That did not reach the server. Try again.");
  } finally {
    button.disabled = false;
  }
}

class Composer {
  constructor(form) {
    this.form = form;
    this.box = form.querySelector("textarea");
    this.error = form.querySelector("[data-error]");
    this.count = form.querySelector("[data-count]");
    this.max = Number(form.dataset.max) || 10000;
    this.draft = `heddle:${form.dataset.draft}`;
    this.key = "";
  }

  listen() {
    if (!this.box.value) this.box.value = sessionStorage.getItem(this.draft) ?? "";
    this.changed();
    this.box.addEventListener("input", () => {
      this.key = "";
      this.say("");
      this.changed();
    });
    this.box.addEventListener("keydown", (event) => {
      // The Enter that confirms a candidate of an input method never sends;
      // some browsers say so only by the key code.
      if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === 229) return;
      event.preventDefault();
      this.form.requestSubmit();
    });
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.send();
    });
    dom.onPatch({ after: () => this.invite() });
    window.addEventListener("pageshow", (event) => {
      if (event.persisted) delete this.form.dataset.sending;
    });
  }

  // The box says what sending does now: while a run works, messages queue.
  invite() {
    const { idle, busy } = this.box.dataset;
    if (idle && busy) this.box.placeholder = document.getElementById("stop") ? busy : idle;
  }

  changed() {
    const length = [...this.box.value].length;
    if (this.box.value) sessionStorage.setItem(this.draft, this.box.value);
    else sessionStorage.removeItem(this.draft);
    const near = length > this.max * 0.9;
    this.count.textContent = near ? `${length.toLocaleString("en")} of ${this.max.toLocaleString("en")} characters` : "";
    this.count.classList.toggle("over", length > this.max);
    if (!CSS.supports("field-sizing", "content")) {
      this.box.style.height = "auto";
      this.box.style.height = `${this.box.scrollHeight}px`;
    }
  }

  async send() {
    const text = this.box.value;
    if (!text.trim() || "sending" in this.form.dataset) return;
    if ([...text].length > this.max) {
      this.say(`A message has at most ${this.max.toLocaleString("en")} characters; this one has ${[...text].length.toLocaleString("en")}. Shorten it; nothing was sent.`);
      return;
    }
    this.say("");
    this.form.dataset.sending = "";
    // The same key goes with every try of the same text, so that a try whose
    // answer got lost does not send it twice.
    this.key ||= uniqueKey();
    try {
      const answer = await post(this.form.action, new FormData(this.form), { "Idempotency-Key": this.key }, "follow" in this.form.dataset);
      if (!answer.ok) {
        this.say(answer.text);
        return;
      }
      this.sent(text);
      if (answer.location) location.assign(answer.location);
      else follow();
    } catch {
      this.say("The message did not reach the server. It is kept here; try again.");
    } finally {
      delete this.form.dataset.sending;
    }
  }

  // What was typed while the message was on its way stays.
  sent(text) {
    this.key = "";
    this.box.value = this.box.value.startsWith(text) ? this.box.value.slice(text.length).replace(/^\n+/, "") : this.box.value;
    this.changed();
  }

  say(text) {
    this.error.textContent = text;
    this.box.toggleAttribute("aria-invalid", Boolean(text));
    if (text) this.box.setAttribute("aria-invalid", "true");
  }
}

// post sends a form as the browser would. A redirect means success; it is only
// followed where its target is needed.
async function post(action, data, headers = {}, wantsLocation = false) {
  const response = await fetch(action, {
    method: "POST",
    body: new URLSearchParams(data),
    redirect: wantsLocation ? "follow" : "manual",
    headers: {
      Accept: "application/json, text/html;q=0.9",
      "X-CSRF-Token": document.querySelector('meta[name="csrf-token"]')?.content ?? "",
      ...headers,
    },
  });
  if (response.type === "opaqueredirect") return { ok: true };
  const body = (response.headers.get("Content-Type") ?? "").includes("json") ? await response.json().catch(() => ({})) : {};
  // A message on a thread is shown by a patch; only a new thread is gone to.
  const location = wantsLocation ? body.location ?? (response.redirected ? response.url : "") : "";
  if (response.ok) return { ok: true, location };
  return { ok: false, text: body.detail || explain(response.status) };
}

function explain(status) {
  switch (status) {
    case 401: return "You are signed out. Sign in in another tab, then send again; the text is kept.";
    case 403: return "This page is out of date or you may not write here. Reload it; the text is kept.";
    case 404: return "This thread does not exist any more. The text is kept here.";
    case 409: return "The thread changed in the meantime. Reload the page; the text is kept.";
    case 413: return "The message is too long. Shorten it; nothing was sent.";
    case 429: return "Too many messages at once. Wait a moment, then send again; the text is kept.";
    default: return "The server could not take the message. It is kept here; try again.";
  }
}

function uniqueKey() {
  if (crypto.randomUUID) return crypto.randomUUID();
  return [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");
}
