// Contract 3, Runs: everything that is not a stream.
import assert from "node:assert/strict";
import { absent, begun, call, client, clientOf, ended, isTime, isUUID, keys, line, paused, ran, refuses, say, test, texts, uuid } from "./session.mjs";

test("POST /threads/{t}/runs: a Run with every field", async () => {
  const { thread_id } = await client.threads.create();
  let located;
  const run = await client.runs.create(thread_id, "echo", { input: say("hi"), metadata: { from: "test" }, config: { tags: ["a"], configurable: { colour: "red" } },
    onRunCreated: (at) => { located = at; } });
  isUUID(run.run_id);
  isUUID(run.assistant_id);
  assert.equal(run.thread_id, thread_id);
  isTime(run.created_at);
  isTime(run.updated_at);
  assert.ok(["pending", "running", "success"].includes(run.status), run.status);
  assert.equal(run.metadata.from, "test");
  assert.equal(typeof run.kwargs, "object");
  assert.equal(run.multitask_strategy, "enqueue");
  assert.deepEqual(located, { run_id: run.run_id, thread_id }, "Content-Location names the run");
  const last = await ended(thread_id, run.run_id);
  assert.equal(last.status, "success");
  assert.deepEqual(Object.keys(run).filter((k) => !(k in last)), [], "GET gives the same fields");
});

test("POST runs/wait: the final values, and Content-Location", async () => {
  const { thread_id } = await client.threads.create();
  let located;
  const values = await client.runs.wait(thread_id, "echo", { input: say("hello"), onRunCreated: (at) => { located = at; } });
  assert.deepEqual(texts(values), ["hello", "echo: hello"]);
  assert.deepEqual(values.messages.map((m) => m.type), ["human", "ai"]);
  assert.equal(located.thread_id, thread_id);
  assert.equal((await client.runs.get(thread_id, located.run_id)).status, "success");
});

test("runs/wait: a failed run is an exception, or 200 with __error__", async () => {
  const { thread_id } = await client.threads.create();
  await assert.rejects(client.runs.wait(thread_id, "failing", { input: say("x") }), /boom/);
  const values = await client.runs.wait(thread_id, "failing", { input: say("x"), raiseError: false });
  assert.match(values.__error__.message, /boom/);
  assert.equal(typeof values.__error__.error, "string");
  assert.equal((await client.threads.get(thread_id)).status, "error");
  assert.equal((await client.runs.list(thread_id))[0].status, "error");
});

test("runs/wait: newlines may come first, the JSON is the last line", async () => {
  const { thread_id } = await client.threads.create();
  const answer = await call("POST", `/threads/${thread_id}/runs/wait`, { assistant_id: "slow", input: say("x") });
  assert.equal(answer.text.trimStart().split("\n").length, 1);
  assert.equal(answer.json.messages.length, 2);
  assert.match(answer.headers.get("content-location"), new RegExp(`^/threads/${thread_id}/runs/[0-9a-f-]{36}$`));
});

test("messages come in by role or type, as text or blocks; the client's ids are kept", async () => {
  const { thread_id } = await client.threads.create();
  const id = uuid();
  const values = await client.runs.wait(thread_id, "echo", { input: { messages: [
    { type: "human", content: [{ type: "text", text: "one" }], id }, { role: "assistant", content: "two" }, { role: "user", content: "three" }] } });
  assert.equal(values.messages[0].id, id);
  assert.deepEqual(values.messages[0].content, [{ type: "text", text: "one" }]);
  assert.deepEqual(values.messages.map((m) => m.type), ["human", "ai", "human", "ai"]);
  for (const m of values.messages) assert.ok(m.id, "missing ids are made");
  const again = await client.runs.wait(thread_id, "echo", { input: { messages: [{ type: "human", content: "changed", id }] } });
  assert.equal(again.messages[0].content, "changed", "equal ids replace");
});

test("an assistant's id works wherever a graph's name does", async () => {
  const { thread_id } = await client.threads.create();
  const run = await client.runs.create(thread_id, "echo", { input: say("x") });
  const values = await client.runs.wait(thread_id, run.assistant_id, { input: say("y") });
  assert.deepEqual(texts(values), ["x", "echo: x", "y", "echo: y"]);
});

test("404 for an unknown assistant or thread, 422 for a broken body", async () => {
  const { thread_id } = await client.threads.create();
  await refuses(client.runs.create(thread_id, "no-such-graph", { input: say("x") }), 404);
  await refuses(client.runs.create(thread_id, absent, { input: say("x") }), 404);
  await refuses(client.runs.create(absent, "echo", { input: say("x") }), 404);
  await refuses(client.runs.wait(absent, "echo", { input: say("x") }), 404);
  await refuses(client.runs.get(thread_id, absent), 404);
  await refuses(client.runs.create(thread_id, "echo", { input: say("x"), multitaskStrategy: "whatever" }), 422);
  assert.equal((await call("POST", `/threads/${thread_id}/runs`, { input: say("x") })).status, 422, "no assistant_id");
  assert.equal((await call("POST", `/threads/${thread_id}/runs`, { assistant_id: "echo", input: say("x"), if_not_exists: "maybe" })).status, 422);
});

test("if_not_exists: reject by default, create makes the thread", async () => {
  const thread = uuid();
  await refuses(client.runs.wait(thread, "echo", { input: say("x") }), 404);
  await refuses(client.runs.wait(thread, "echo", { input: say("x"), ifNotExists: "reject" }), 404);
  assert.deepEqual(texts(await client.runs.wait(thread, "echo", { input: say("x"), ifNotExists: "create" })), ["x", "echo: x"]);
  assert.equal((await client.threads.get(thread)).status, "idle");
});

test("a run writes graph_id and assistant_id into the thread's metadata", async () => {
  const { thread_id } = await client.threads.create({ metadata: { mine: 1 } });
  const run = await client.runs.create(thread_id, "echo", { input: say("x") });
  const { metadata } = await client.threads.get(thread_id);
  assert.equal(metadata.graph_id, "echo");
  assert.equal(metadata.assistant_id, run.assistant_id);
  assert.equal(metadata.mine, 1);
});

test("a thread is busy while a run is pending or running", async () => {
  const { thread_id } = await client.threads.create();
  const run = await client.runs.create(thread_id, "slow", { input: say("x") });
  assert.equal((await client.threads.get(thread_id)).status, "busy");
  await ended(thread_id, run.run_id);
  assert.equal((await client.threads.get(thread_id)).status, "idle");
});

test("GET /threads/{t}/runs: newest first, limit, offset, status, select", async () => {
  const thread = await ran("one", "two", "three");
  const all = await client.runs.list(thread);
  assert.equal(all.length, 3);
  assert.deepEqual(all.map((r) => r.created_at), all.map((r) => r.created_at).sort().reverse());
  assert.deepEqual((await client.runs.list(thread, { limit: 1, offset: 1 })).map((r) => r.run_id), [all[1].run_id]);
  assert.deepEqual(await client.runs.list(thread, { status: "error" }), []);
  assert.equal((await client.runs.list(thread, { status: "success" })).length, 3);
  const picked = await call("GET", `/threads/${thread}/runs?select=run_id&select=status`);
  for (const r of picked.json) assert.deepEqual(Object.keys(r).sort(), ["run_id", "status"]);
  const paged = await call("GET", `/threads/${thread}/runs?limit=2`);
  assert.equal(paged.headers.get("x-pagination-total"), "3");
  assert.equal(paged.headers.get("x-pagination-next"), "2");
  await refuses(client.runs.list(absent), 404);
});

test("DELETE /threads/{t}/runs/{r}: gone afterwards, the thread stays", async () => {
  const thread = await ran("one");
  const [run] = await client.runs.list(thread);
  await client.runs.delete(thread, run.run_id);
  await refuses(client.runs.get(thread, run.run_id), 404);
  assert.equal((await client.threads.get(thread)).thread_id, thread);
  await refuses(client.runs.delete(thread, absent), 404);
});

test("join: waits for the run's values, at once if it is over", async () => {
  const { thread_id } = await client.threads.create();
  const run = await client.runs.create(thread_id, "slow", { input: say("x") });
  assert.equal((await client.runs.join(thread_id, run.run_id)).messages.length, 2);
  assert.equal((await client.runs.join(thread_id, run.run_id)).messages.length, 2);
  await refuses(client.runs.join(thread_id, absent), 404);
});

test("cancel: 202 at once; with wait it comes when the run is over, which is interrupted", async () => {
  const { thread_id } = await client.threads.create();
  const run = await client.runs.create(thread_id, "slow", { input: say("x") });
  await begun(thread_id, run.run_id);
  assert.equal((await call("POST", `/threads/${thread_id}/runs/${run.run_id}/cancel?wait=0&action=interrupt`)).status, 202);
  const last = await ended(thread_id, run.run_id);
  assert.equal(last.status, "interrupted");
  assert.equal((await client.threads.get(thread_id)).status, "idle");

  const second = await client.runs.create(thread_id, "slow", { input: say("y") });
  await begun(thread_id, second.run_id);
  await client.runs.cancel(thread_id, second.run_id, true);
  assert.equal((await client.runs.get(thread_id, second.run_id)).status, "interrupted");
  await refuses(client.runs.cancel(thread_id, absent), 404);
  const again = await call("POST", `/threads/${thread_id}/runs/${second.run_id}/cancel?wait=1`);
  assert.ok([202, 204].includes(again.status), "cancelling what is over is no failure");
});

test("cancel with rollback: the run and its steps are gone", async () => {
  const thread = await ran("before");
  const run = await client.runs.create(thread, "slow", { input: say("x") });
  await begun(thread, run.run_id);
  await client.runs.cancel(thread, run.run_id, true, "rollback");
  await refuses(client.runs.get(thread, run.run_id), 404);
  assert.deepEqual(texts((await client.threads.getState(thread)).values), ["before", "echo: before"]);
});

test("POST /runs/cancel: runs of a thread by id", async () => {
  const { thread_id } = await client.threads.create();
  const runs = [];
  for (const text of ["a", "b"]) runs.push(await client.runs.create(thread_id, "slow", { input: say(text) }));
  await begun(thread_id, runs[0].run_id);
  const one = await call("POST", "/runs/cancel?action=interrupt", { thread_id, run_ids: [runs[1].run_id] });
  assert.equal(one.status, 204, one.text);
  assert.equal((await ended(thread_id, runs[1].run_id)).status, "interrupted");
  if (line === "2.0.0") await call("POST", "/runs/cancel", { thread_id, run_ids: [runs[0].run_id] });
  else await client.runs.cancelMany({ threadId: thread_id, runIds: [runs[0].run_id] });
  assert.equal((await ended(thread_id, runs[0].run_id)).status, "interrupted");
  assert.equal((await call("POST", "/runs/cancel", { thread_id: absent, run_ids: [absent] })).status, 404);
  assert.equal((await call("POST", "/runs/cancel", {})).status, 422);
});

test("POST /runs/cancel by status: all of the key's person", async () => {
  const theirs = clientOf(keys.foreign);
  const { thread_id } = await theirs.threads.create();
  const runs = [];
  for (const text of ["a", "b"]) runs.push(await theirs.runs.create(thread_id, "slow", { input: say(text) }));
  const all = await call("POST", "/runs/cancel", { status: "all" }, { "x-api-key": keys.foreign });
  assert.equal(all.status, 204, all.text);
  for (const r of runs) assert.equal((await ended(thread_id, r.run_id, theirs)).status, "interrupted");
});

test("POST /runs/wait: stateless, the thread is gone afterwards", async () => {
  let located;
  const values = await client.runs.wait(null, "echo", { input: say("hi"), onRunCreated: (at) => { located = at; } });
  assert.deepEqual(texts(values), ["hi", "echo: hi"]);
  isUUID(located.run_id);
  const raw = await call("POST", "/runs/wait", { assistant_id: "echo", input: say("x") });
  assert.match(raw.headers.get("content-location"), /^\/runs\/[0-9a-f-]{36}$/);
});

test("POST /runs: stateless in the background, on a thread that no list shows; on_completion keep shows it", async () => {
  const gone = await client.runs.create(null, "echo", { input: say("x") });
  isUUID(gone.thread_id);
  // 2.0.0 does not send on_completion when it creates a run.
  const kept = (await call("POST", "/runs", { assistant_id: "echo", input: say("x"), on_completion: "keep" })).json;
  await ended(kept.thread_id, kept.run_id);
  assert.deepEqual(texts((await client.threads.getState(kept.thread_id)).values), ["x", "echo: x"]);
  const listed = await call("POST", "/threads/search", { ids: [gone.thread_id, kept.thread_id] });
  assert.deepEqual(listed.json.map((t) => t.thread_id), [kept.thread_id]);
});

test("POST /runs/batch: a Run for each body", async () => {
  const runs = await client.runs.createBatch([{ assistantId: "echo", input: say("a") }, { assistantId: "echo", input: say("b") }]);
  assert.equal(runs.length, 2);
  for (const r of runs) isUUID(r.run_id);
  assert.equal((await call("POST", "/runs/batch", [])).status, 422, "one at least");
});

test("after_seconds: the run stays pending until then", async () => {
  const { thread_id } = await client.threads.create();
  const from = Date.now();
  const run = await client.runs.create(thread_id, "echo", { input: say("later"), afterSeconds: 2 });
  assert.equal(run.status, "pending");
  await ended(thread_id, run.run_id);
  assert.ok(Date.now() - from >= 1900, "not before its time");
});

test("input null goes on from where a breakpoint stopped", async () => {
  const { thread_id } = await client.threads.create();
  await client.runs.wait(thread_id, "echo", { input: say("x"), interruptBefore: ["echo"] });
  const state = await client.threads.getState(thread_id);
  assert.deepEqual(state.next, ["echo"]);
  assert.equal((await client.threads.get(thread_id)).status, "interrupted");
  assert.deepEqual(texts(await client.runs.wait(thread_id, "echo", { input: null })), ["x", "echo: x"]);
  const all = await client.threads.create();
  await client.runs.wait(all.thread_id, "echo", { input: say("x"), interruptBefore: "*" });
  assert.deepEqual((await client.threads.getState(all.thread_id)).next, ["echo"]);
});

test("checkpoint_id and checkpoint: a run forks from an older state", async () => {
  const thread = await ran("one", "two");
  const history = await client.threads.getHistory(thread);
  const old = history.find((s) => texts(s.values).length === 2 && s.next.length === 0);
  assert.ok(old, "the state after the first answer");
  assert.deepEqual(texts(await client.runs.wait(thread, "echo", { input: say("other"), checkpointId: old.checkpoint.checkpoint_id })), ["one", "echo: one", "other", "echo: other"]);
  assert.deepEqual(texts(await client.runs.wait(thread, "echo", { input: say("third"), checkpoint: { checkpoint_id: old.checkpoint.checkpoint_id, checkpoint_ns: "", checkpoint_map: null } })),
    ["one", "echo: one", "third", "echo: third"]);
  await refuses(client.runs.wait(thread, "echo", { input: say("x"), checkpointId: absent }), 404, 422);
});

test("input null with an older checkpoint regenerates the answer", async () => {
  const thread = await ran("one");
  const history = await client.threads.getHistory(thread);
  const before = history.find((s) => s.next.includes("echo"));
  const answer = (await client.threads.getState(thread)).values.messages.at(-1);
  const values = await client.runs.wait(thread, "echo", { input: null, checkpointId: before.checkpoint.checkpoint_id });
  assert.deepEqual(texts(values), ["one", "echo: one"]);
  assert.notEqual(values.messages.at(-1).id, answer.id);
});

test("metadata, config and context come back in the run", async () => {
  const { thread_id } = await client.threads.create();
  const run = await client.runs.create(thread_id, "echo", { input: say("x"), metadata: { a: { b: 1 } }, config: { configurable: { theme: "dark" }, recursion_limit: 7 }, durability: "sync", streamMode: ["values"] });
  assert.deepEqual(run.metadata.a, { b: 1 });
  assert.equal(run.kwargs.config.configurable.theme, "dark");
});

test("a run that stops at an interrupt is success; only the thread is interrupted", async () => {
  const { thread } = await paused();
  const [run] = await client.runs.list(thread);
  assert.equal(run.status, "success");
  assert.equal((await client.threads.get(thread)).status, "interrupted");
});

test("webhook: the Run with its values is posted when it is over", async (t) => {
  const { createServer } = await import("node:http");
  const got = Promise.withResolvers ? Promise.withResolvers() : (() => { const p = {}; p.promise = new Promise((resolve) => { p.resolve = resolve; }); return p; })();
  const server = createServer((request, response) => {
    let body = "";
    request.on("data", (d) => { body += d; });
    request.on("end", () => { response.end(); got.resolve({ method: request.method, body: JSON.parse(body), type: request.headers["content-type"] }); });
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.after(() => server.close());
  const { thread_id } = await client.threads.create();
  const run = await client.runs.create(thread_id, "echo", { input: say("x"), webhook: `http://127.0.0.1:${server.address().port}/hook` });
  const { method, body, type } = await Promise.race([got.promise, new Promise((_, reject) => { const timer = setTimeout(() => reject(new Error("nothing was posted")), 10_000); timer.unref(); })]);
  assert.equal(method, "POST");
  assert.match(type, /^application\/json/);
  assert.equal(body.run_id, run.run_id);
  assert.equal(body.status, "success");
  assert.deepEqual(texts(body.values), ["x", "echo: x"]);
  for (const name of ["run_started_at", "run_ended_at", "webhook_sent_at"]) isTime(body[name]);
});
