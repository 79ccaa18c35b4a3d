// The page's one connection. It joins the thread and the person's own topic,
// hands patches to dom.js and says when the connection is away.
import { Socket } from "phoenix";
import * as dom from "./dom.js";
import { announceRun } from "./announce.js";
import * as reviews from "./reviews.js";

const waits = [200, 500, 1000, 2000, 4000, 8000];
const wait = (tries) => (waits[tries - 1] ?? 10000) * (0.8 + Math.random() * 0.4);

export function start() {
  if (!document.querySelector('meta[name="csrf-token"]')) return;
  const banner = new Banner(document.querySelector("[data-reconnect]"));
  const socket = new Socket("/socket", {
    heartbeatIntervalMs: 25000,
    rejoinAfterMs: (tries) => Math.min(wait(tries), 5000),
    reconnectAfterMs: (tries) => {
      const ms = wait(tries);
      banner.away(ms);
      return ms;
    },
  });
  socket.onOpen(() => banner.back());
  socket.onClose(revoked);
  banner.onRetry(() => {
    socket.disconnect(() => socket.connect());
  });
  socket.connect();

  news(socket);
  if (reviews.watched()) queue(socket);
  const thread = document.querySelector("[data-thread]");
  if (thread) join(socket, `thread:${thread.dataset.thread}`, place(thread));
}

// revoked: the session ended or may do something else now. The page as it was is
// out of date, so it is read anew, which leads to the sign-in if it must. A form
// that was just sent leads on by itself: its answer may bring a new cookie, which
// a reload would throw away.
function revoked(event) {
  if (event?.code !== 4401 || sent) return;
  setTimeout(() => sent || location.reload(), 300);
}

// sent: a form is on its way that the browser itself posts, not a script.
let sent = false;
document.addEventListener("submit", (event) => {
  setTimeout(() => {
    if (event.defaultPrevented) return;
    sent = true;
    setTimeout(() => (sent = false), 10000);
  });
});

// news hears on the person's own topic that a thread changed and reads the list
// anew: at once for the first hint, then at most twice a second. Hints may be
// lost, so the list is read after every join as well, but for the first.
function news(socket) {
  let due = 0;
  let last = 0;
  const read = async () => {
    due = 0;
    last = Date.now();
    const thread = document.querySelector("[data-thread]")?.dataset.thread ?? "";
    const search = new URLSearchParams(location.search);
    const query = new URLSearchParams({ active: thread });
    for (const name of ["q", "before"]) if (!thread && search.has(name)) query.set(name, search.get(name));
    try {
      const response = await fetch(`/threads?${query}`, { headers: { Accept: "text/html" } });
      if (response.ok && !response.redirected) dom.apply({ regions: [{ id: "thread-list", html: await response.text() }] });
    } catch {
      // Away for the moment; the next hint or join reads it.
    }
  };
  const soon = () => {
    due ||= setTimeout(read, Math.max(0, 500 - (Date.now() - last)));
  };
  let joined = false;
  const channel = socket.channel("user", {});
  channel.on("notice", soon);
  channel.join().receive("ok", () => {
    if (joined) soon();
    joined = true;
  });
}

// queue hears that requests for review changed, and has what shows them read
// anew; after every join but the first as well, since hints may be lost.
function queue(socket) {
  let joined = false;
  const channel = socket.channel("reviews", {});
  channel.on("notice", reviews.refresh);
  channel.join().receive("ok", () => {
    if (joined) reviews.refresh();
    joined = true;
  });
}

// place remembers how far a topic was read; a join sends it, so that a rejoin
// brings only what changed since.
function place(element) {
  return {
    after: Number(element?.dataset.seq ?? 0),
    epoch: element?.dataset.epoch ?? "",
    moved(seq, epoch) {
      if (epoch) this.epoch = epoch;
      if (seq > this.after) this.after = seq;
      if (element) Object.assign(element.dataset, { seq: String(this.after), epoch: this.epoch });
    },
  };
}

function join(socket, topic, at) {
  const channel = socket.channel(topic, () => ({ after: at.after, epoch: at.epoch, format: "html" }));
  let leaving = false;
  // The server lost touch with this reader: come again and get what changed.
  const again = () => {
    if (leaving) return;
    leaving = true;
    channel.leave().receive("ok", () => join(socket, topic, at)).receive("timeout", () => join(socket, topic, at));
  };
  channel.on("view", (frame) => {
    const reset = frame.epoch && at.epoch && frame.epoch !== at.epoch;
    if (reset) at.after = 0;
    if (frame.seq && frame.seq < at.after) return; // older than what is shown
    dom.apply(frame);
    at.moved(frame.seq ?? 0, frame.epoch);
    announceRun();
  });
  channel.on("lag", again);
  channel.on("reset", (notice) => {
    at.after = 0;
    at.epoch = notice?.epoch ?? "";
    again();
  });
  channel.on("reload", () => location.reload());
  channel
    .join()
    .receive("ok", (reply) => {
      // The log was cut: what the page shows does not go on from here.
      if (reply?.reset) {
        location.reload();
        return;
      }
      if (reply?.epoch && reply.epoch !== at.epoch) at.after = Math.min(at.after, reply.seq ?? 0);
      at.moved(reply?.seq ?? 0, reply?.epoch);
    })
    .receive("error", (reply) => {
      // Gone or not ours any more: knocking again will not help.
      if (["not_found", "forbidden", "unauthenticated"].includes(reply?.reason ?? reply?.code)) channel.leave();
    });
}

// Banner tells that the connection is away, when the next try is, and that
// nothing written is lost. It waits a moment: most gaps are shorter.
class Banner {
  #element;
  #text;
  #timer = 0;
  #until = 0;
  #since = 0;

  constructor(element) {
    this.#element = element;
    this.#text = element?.querySelector("[data-reconnect-text]");
  }

  away(ms) {
    if (!this.#element) return;
    this.#since ||= Date.now();
    this.#until = Date.now() + ms;
    clearInterval(this.#timer);
    this.#timer = setInterval(() => this.#show(), 250);
    this.#show();
  }

  back() {
    clearInterval(this.#timer);
    this.#since = 0;
    if (this.#element) this.#element.hidden = true;
  }

  onRetry(retry) {
    this.#element?.querySelector("[data-reconnect-now]")?.addEventListener("click", retry);
  }

  #show() {
    if (Date.now() - this.#since < 1200) return;
    const seconds = Math.max(0, Math.ceil((this.#until - Date.now()) / 1000));
    const next = seconds > 0 ? `trying again in ${seconds} s` : "trying again now";
    this.#text.textContent = `Offline, ${next}. What you write is kept.`;
    this.#element.hidden = false;
  }
}
