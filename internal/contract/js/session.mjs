// What every file of calls begins with: a client of the SDK under test, a plain
// fetch for what the SDK hides, and the few words that most calls need.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { describe, test as nodeTest } from "node:test";
import { pathToFileURL } from "node:url";

const { Client } = await import(pathToFileURL(process.env.HEDDLE_SDK).href);

export const line = process.env.HEDDLE_SDK_LINE;
export const api = process.env.HEDDLE_API;
export const key = process.env.HEDDLE_KEY;
export const keys = { read: process.env.HEDDLE_KEY_READ, admin: process.env.HEDDLE_KEY_ADMIN, foreign: process.env.HEDDLE_KEY_FOREIGN };

// test is Node's with a limit, a few at a time: most of a call is waiting. Tests
// of one file must not mind each other.
const rows = [];
export const test = (name, ...rest) => {
  if (rows.length === 0) queueMicrotask(() => describe("rows", { concurrency: 4 }, () => rows.forEach((row) => nodeTest(...row))));
  rows.push([name, { timeout: 30_000, ...(rest.length > 1 ? rest[0] : {}) }, rest.at(-1)]);
};

// clientOf makes a client that doesn't retry: a test wants the first answer.
export const clientOf = (apiKey, options = {}) => new Client({ apiUrl: api, apiKey, callerOptions: { maxRetries: 0, maxConcurrency: 16 }, ...options });
export const client = clientOf(key);
export const admin = clientOf(keys.admin);

export const uuid = () => randomUUID();
export const absent = "00000000-0000-4000-8000-000000000000";
export const isUUID = (text) => assert.match(text, /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/);
export const isTime = (text) => assert.match(text, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3,}(Z|[+-]\d\d:\d\d)$/);

export const say = (content, more = {}) => ({ messages: [{ role: "user", content, ...more }] });
export const texts = (values) => (values.messages ?? []).map((m) => (typeof m.content === "string" ? m.content : m.content.map((b) => b.text ?? "").join("")));

// call is one request as a program without the SDK makes it.
export async function call(method, path, body, headers = {}) {
  const response = await fetch(api + path, {
    method, headers: { "x-api-key": key, ...(body === undefined ? {} : { "content-type": "application/json" }), ...headers },
    body: body === undefined ? undefined : typeof body === "string" ? body : JSON.stringify(body),
  });
  const text = await response.text();
  let json;
  try { json = text === "" ? undefined : JSON.parse(text); } catch { json = undefined; }
  return { status: response.status, headers: response.headers, text, json };
}

// refuses expects a status of the SDK's call, and our one form of errors.
export async function refuses(promise, ...statuses) {
  const error = await promise.then((value) => assert.fail(`answered ${JSON.stringify(value)}`), (e) => e);
  if (error instanceof assert.AssertionError) throw error;
  assert.ok(statuses.includes(error.status), `${error.status} ${error.message}`);
  assert.match(error.message, /detail/, "the answer is {detail}");
  return error;
}

// stream sends a request whose answer is SSE and gives its frames as they are on
// the wire: {event, data, id, comment}.
export async function* frames(method, path, body, headers = {}, signal) {
  const response = await fetch(api + path, {
    method, signal, headers: { "x-api-key": key, ...(body === undefined ? {} : { "content-type": "application/json" }), ...headers },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  assert.equal(response.status, 200, await (response.status === 200 ? "" : response.text()));
  assert.match(response.headers.get("content-type"), /^text\/event-stream/);
  yield { opened: response };
  let rest = "";
  for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
    rest += chunk;
    for (let at; (at = rest.search(/\r?\n\r?\n/)) >= 0;) {
      const block = rest.slice(0, at);
      rest = rest.slice(at).replace(/^\r?\n\r?\n/, "");
      const frame = {};
      for (const row of block.split(/\r?\n/)) {
        if (row.startsWith(":")) { frame.comment = row.slice(1).trim(); continue; }
        const [, name, value] = /^([^:]+): ?(.*)$/.exec(row) ?? [];
        if (name) frame[name] = frame[name] === undefined ? value : frame[name] + "\n" + value;
      }
      if (frame.data !== undefined) frame.data = JSON.parse(frame.data);
      yield frame;
    }
  }
  assert.equal(rest, "", "a stream ends with a whole frame");
}

// read gathers all frames of a stream that ends, without its comments.
export async function read(method, path, body, headers) {
  const out = { frames: [] };
  for await (const frame of frames(method, path, body, headers)) {
    if (frame.opened) out.response = frame.opened;
    else if (frame.event) out.frames.push(frame);
  }
  return out;
}

// gather is what a stream of the SDK said.
export async function gather(parts) {
  const out = [];
  for await (const part of parts) out.push(part);
  return out;
}

// until asks again until ok says yes; what names the condition.
export async function until(what, ask, ok, limit = 15_000) {
  const deadline = Date.now() + limit;
  for (;;) {
    const value = await ask();
    if (ok(value)) return value;
    if (Date.now() > deadline) assert.fail(`${what}: not within ${limit} ms, last ${JSON.stringify(value)}`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

export const ended = (thread, run, by = client) => until(`run ${run} ends`, () => by.runs.get(thread, run), (r) => !["pending", "running"].includes(r.status));
export const begun = (thread, run) => until(`run ${run} begins`, () => client.runs.get(thread, run), (r) => r.status !== "pending");

// paused is a thread on which the graph approval waits for an answer.
export async function paused() {
  const thread = await client.threads.create();
  const values = await client.runs.wait(thread.thread_id, "approval", { input: say("email bob") });
  return { thread: thread.thread_id, values };
}

// ran is a thread on which the graph echo answered, once for each text.
export async function ran(...said) {
  const { thread_id } = await client.threads.create();
  for (const text of said) await client.runs.wait(thread_id, "echo", { input: say(text) });
  return thread_id;
}
