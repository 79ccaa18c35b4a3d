// Contract 2 and 3: what holds for every call, /ok, /info, crons.
import assert from "node:assert/strict";
import { absent, api, call, client, clientOf, ended, frames, keys, refuses, say, test, uuid } from "./session.mjs";

test("GET /ok and /info need no key", async () => {
  for (const headers of [{}, { "content-type": "application/json" }]) {
    const ok = await fetch(api + "/ok", { headers });
    assert.deepEqual(await ok.json(), { ok: true });
    const info = await (await fetch(api + "/info", { headers })).json();
    assert.equal(typeof info.version, "string");
    assert.equal(info.flags.assistants, true);
    assert.equal(typeof info.flags.crons, "boolean");
    assert.equal(info.flags.langsmith, false);
    assert.equal(info.host.kind, "self-hosted");
  }
});

test("a key comes as x-api-key, or as a bearer token in the SDK's default headers", async () => {
  await client.threads.create();
  const bearer = clientOf(null, { defaultHeaders: { authorization: `Bearer ${process.env.HEDDLE_KEY}`, "x-auth-scheme": "langsmith" } });
  await bearer.threads.create();
});

test("without a key every call is 401 with a detail", async () => {
  await refuses(clientOf("hdl_wrong").threads.create(), 401);
  await refuses(clientOf(null).threads.get(absent), 401);
});

test("a key that may read can't write: 403 names it", async () => {
  const reader = clientOf(keys.read);
  const error = await refuses(reader.threads.create(), 403);
  assert.match(error.message, /scopes/);
  const { thread_id } = await client.threads.create();
  assert.equal((await reader.threads.get(thread_id)).thread_id, thread_id);
});

test("absent and foreign are the same 404", async () => {
  const { thread_id } = await client.threads.create();
  const foreign = clientOf(keys.foreign);
  const theirs = await refuses(foreign.threads.get(thread_id), 404);
  const none = await refuses(foreign.threads.get(absent), 404);
  assert.equal(theirs.message, none.message);
  await refuses(foreign.threads.get("no-uuid"), 404, 422);
});

test("a text/plain body is taken as JSON", async () => {
  const made = await call("POST", "/threads", JSON.stringify({ metadata: { by: "text" } }), { "content-type": "text/plain;charset=UTF-8" });
  assert.equal(made.status, 200);
  assert.equal(made.json.metadata.by, "text");
});

test("unknown fields are ignored, null often means absent", async () => {
  const made = await call("POST", "/threads", { thread_id: null, metadata: null, if_exists: null, ttl: null, supersteps: null, from_the_future: { a: 1 } });
  assert.equal(made.status, 200, made.text);
  const { thread_id } = made.json;
  const run = await call("POST", `/threads/${thread_id}/runs/wait`, {
    assistant_id: "echo", input: { messages: [{ type: "human", content: "x" }] }, command: null, config: null, context: null, metadata: null, webhook: null,
    interrupt_before: null, interrupt_after: null, checkpoint: null, checkpoint_id: null, multitask_strategy: null, on_completion: null, on_disconnect: null,
    after_seconds: null, if_not_exists: null, durability: null, feedback_keys: null, langsmith_tracer: null, checkpoint_during: null, stream_resumable: null,
    strictResume: true, from_the_future: 1,
  });
  assert.equal(run.status, 200, run.text);
  assert.equal(run.json.messages.at(-1).content, "echo: x");
});

test("a broken body is 422 with a detail, an unknown address 404, a wrong method 405", async () => {
  for (const [method, path, body, status] of [["POST", "/threads", "{", 422], ["GET", "/nowhere", undefined, 404], ["PUT", "/threads", "{}", 405],
    ["POST", `/threads/${uuid()}/runs`, { assistant_id: 7 }, 422]]) {
    const answer = await call(method, path, body);
    assert.equal(answer.status, status, path);
    assert.equal(typeof answer.json.detail, "string");
  }
});

test("crons: 501 with a detail, and /info says that there are none", async () => {
  await refuses(client.crons.create("echo", { schedule: "* * * * *", input: {} }), 501);
  const { thread_id } = await client.threads.create();
  await refuses(client.crons.createForThread(thread_id, "echo", { schedule: "* * * * *", input: {} }), 501);
  await refuses(client.crons.search(), 501);
  await refuses(client.crons.count(), 501);
  await refuses(client.crons.update(absent, { schedule: "* * * * *" }), 501);
  await refuses(client.crons.delete(absent), 501);
  const info = await (await fetch(api + "/info")).json();
  assert.equal(info.flags.crons, false);
});

test("a request that names itself is carried out once", async () => {
  const named = { "idempotency-key": uuid() };
  const first = await call("POST", "/threads", {}, named);
  const again = await call("POST", "/threads", {}, named);
  assert.equal(first.json.thread_id, again.json.thread_id);
});

test("a key that may read watches a run, and stops nothing by hanging up", async () => {
  const { thread_id } = await client.threads.create();
  const run = await client.runs.create(thread_id, "slow", { input: say("x"), streamMode: ["values", "messages-tuple"], streamResumable: true });
  const cut = new AbortController();
  await assert.rejects(async () => {
    const path = `/threads/${thread_id}/runs/${run.run_id}/stream?cancel_on_disconnect=1`;
    for await (const f of frames("GET", path, undefined, { "x-api-key": keys.read, "last-event-id": "-1" }, cut.signal)) if (f.event === "messages") cut.abort();
  }, { name: "AbortError" });
  assert.equal((await ended(thread_id, run.run_id)).status, "success");
});
