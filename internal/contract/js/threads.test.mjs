// Contract 3, Threads.
import assert from "node:assert/strict";
import { absent, begun, call, client, ended, isTime, isUUID, line, paused, ran, refuses, say, test, texts, until, uuid } from "./session.mjs";

test("POST /threads: a Thread with every field", async () => {
  const thread = await client.threads.create({ metadata: { colour: "red" } });
  isUUID(thread.thread_id);
  isTime(thread.created_at);
  isTime(thread.updated_at);
  assert.equal(thread.status, "idle");
  assert.equal(thread.metadata.colour, "red");
  assert.deepEqual(thread.interrupts ?? {}, {});
  assert.ok(thread.values == null || Object.keys(thread.values).length === 0);
  assert.deepEqual((await client.threads.get(thread.thread_id)).metadata, thread.metadata);
});

test("POST /threads with an id: v4 accepted, 409 if it exists, do_nothing gives it", async () => {
  const id = uuid();
  assert.equal((await client.threads.create({ threadId: id, metadata: { first: true } })).thread_id, id);
  await refuses(client.threads.create({ threadId: id }), 409);
  await refuses(client.threads.create({ threadId: id, ifExists: "raise" }), 409);
  const again = await client.threads.create({ threadId: id, ifExists: "do_nothing", metadata: { first: false } });
  assert.equal(again.metadata.first, true);
  await refuses(client.threads.create({ threadId: "no-uuid" }), 422);
});

test("POST /threads with graphId: it stands in the metadata", async () => {
  assert.equal((await client.threads.create({ graphId: "echo" })).metadata.graph_id, "echo");
});

test("POST /threads with supersteps: the state is there", async () => {
  const { thread_id } = await client.threads.create({ graphId: "echo", supersteps: [
    { updates: [{ values: say("hi"), asNode: "__start__" }] }, { updates: [{ values: { messages: [{ type: "ai", content: "hello" }] }, asNode: "echo" }] }] });
  const state = await client.threads.getState(thread_id);
  assert.deepEqual(texts(state.values), ["hi", "hello"]);
  assert.deepEqual(state.next, []);
});

test("PATCH: metadata is merged; Prefer return=minimal is 204", async () => {
  const { thread_id } = await client.threads.create({ metadata: { a: 1, b: 1 } });
  const changed = await client.threads.update(thread_id, { metadata: { b: 2, c: 3 } });
  assert.deepEqual({ ...changed.metadata }, { a: 1, b: 2, c: 3 });
  assert.deepEqual((await client.threads.get(thread_id)).metadata, { a: 1, b: 2, c: 3 });
  const quiet = await call("PATCH", `/threads/${thread_id}`, { metadata: { d: 4 } }, { prefer: "return=minimal" });
  assert.equal(quiet.status, 204);
  assert.equal((await client.threads.get(thread_id)).metadata.d, 4);
  await refuses(client.threads.update(absent, { metadata: {} }), 404);
});

test("DELETE: gone afterwards", async () => {
  const thread = await ran("x");
  const answer = await call("DELETE", `/threads/${thread}`);
  assert.ok([200, 204].includes(answer.status));
  await refuses(client.threads.get(thread), 404);
  await refuses(client.threads.getState(thread), 404);
  await refuses(client.threads.delete(absent), 404);
  const second = await client.threads.create();
  await client.threads.delete(second.thread_id);
});

test("ttl: kept and shown by include=ttl", async () => {
  const made = await call("POST", "/threads", { ttl: { ttl: 60, strategy: "delete" } });
  assert.equal(made.status, 200, made.text);
  const seen = await call("GET", `/threads/${made.json.thread_id}?include=ttl`);
  assert.equal(seen.status, 200);
  assert.equal(seen.json.ttl.strategy, "delete");
  const patched = await call("PATCH", `/threads/${made.json.thread_id}`, { ttl: { ttl: 5, strategy: "delete" } });
  assert.equal(patched.status, 200, patched.text);
});

test("search: newest first, by metadata contained, ids, status; paging headers; select", async () => {
  const group = uuid();
  const made = [];
  for (let n = 0; n < 3; n++) made.push((await client.threads.create({ metadata: { group, deep: { n, of: 3 } } })).thread_id);
  const found = await client.threads.search({ metadata: { group } });
  assert.deepEqual(found.map((t) => t.thread_id), [...made].reverse());
  for (const name of ["thread_id", "created_at", "updated_at", "metadata", "status"]) assert.ok(name in found[0], name);
  assert.deepEqual((await client.threads.search({ metadata: { group, deep: { n: 1 } } })).map((t) => t.thread_id), [made[1]]);
  assert.deepEqual(await client.threads.search({ metadata: { group, deep: { n: 9 } } }), []);
  assert.deepEqual((await client.threads.search({ metadata: { group }, limit: 1, offset: 1 })).map((t) => t.thread_id), [made[1]]);
  assert.equal((await client.threads.search({ metadata: { group }, status: "idle" })).length, 3);
  assert.deepEqual(await client.threads.search({ metadata: { group }, status: "busy" }), []);
  const raw = await call("POST", "/threads/search", { metadata: { group }, limit: 2, select: ["thread_id", "status"] });
  assert.equal(raw.headers.get("x-pagination-total"), "3");
  assert.equal(raw.headers.get("x-pagination-next"), "2");
  for (const t of raw.json) assert.deepEqual(Object.keys(t).sort(), ["status", "thread_id"]);
  const last = await call("POST", "/threads/search", { metadata: { group }, limit: 2, offset: 2 });
  assert.equal(last.headers.get("x-pagination-next"), null, "only if more is left");
  const byID = await call("POST", "/threads/search", { ids: [made[0], absent] });
  assert.deepEqual(byID.json.map((t) => t.thread_id), [made[0]]);
  for (const order of ["asc", "desc"]) {
    const sorted = await client.threads.search({ metadata: { group }, sortBy: "created_at", sortOrder: order });
    assert.deepEqual(sorted.map((t) => t.thread_id), order === "asc" ? made : [...made].reverse());
  }
  for (const by of ["thread_id", "status", "updated_at"]) assert.equal((await client.threads.search({ metadata: { group }, sortBy: by })).length, 3);
  assert.equal((await call("POST", "/threads/search", { sort_by: "colour" })).status, 422);
  assert.equal((await call("POST", "/threads/search", { limit: 1001 })).status, 422);
});

test("search by what a run left: metadata.graph_id, status interrupted and error", async () => {
  const group = uuid();
  const waits = await client.threads.create({ metadata: { group } });
  await client.runs.wait(waits.thread_id, "approval", { input: say("email") });
  const broken = await client.threads.create({ metadata: { group } });
  await client.runs.wait(broken.thread_id, "failing", { input: say("x"), raiseError: false });
  assert.deepEqual((await client.threads.search({ metadata: { group, graph_id: "approval" } })).map((t) => t.thread_id), [waits.thread_id]);
  const [interrupted] = await client.threads.search({ metadata: { group }, status: "interrupted" });
  assert.equal(interrupted.thread_id, waits.thread_id);
  const [[open]] = Object.values(interrupted.interrupts);
  assert.ok(open.id && open.value, "open interrupts stand in the list");
  assert.deepEqual((await client.threads.search({ metadata: { group }, status: "error" })).map((t) => t.thread_id), [broken.thread_id]);
});

test("count: a bare integer", async () => {
  const group = uuid();
  await client.threads.create({ metadata: { group } });
  await client.threads.create({ metadata: { group } });
  const answer = await call("POST", "/threads/count", { metadata: { group } });
  assert.equal(answer.json, 2);
  assert.equal((await call("POST", "/threads/count", { metadata: { group }, status: "busy" })).json, 0);
  if (client.threads.count) assert.equal(await client.threads.count({ metadata: { group } }), 2);
});

test("extract: values by path under an alias", async () => {
  const group = uuid();
  const { thread_id } = await client.threads.create({ metadata: { group } });
  await client.runs.wait(thread_id, "echo", { input: say("hello") });
  const { json, text } = await call("POST", "/threads/search", { metadata: { group }, select: ["thread_id"], extract: { first: "values.messages[0].content" } });
  assert.equal(json[0].extracted?.first ?? json[0].first, "hello", text);
});

test("copy: a new thread with all checkpoints, and lives its own life", async () => {
  const thread = await ran("one", "two");
  const copy = await client.threads.copy(thread);
  assert.notEqual(copy.thread_id, thread);
  const [mine, theirs] = [await client.threads.getHistory(copy.thread_id, { limit: 100 }), await client.threads.getHistory(thread, { limit: 100 })];
  assert.equal(mine.length, theirs.length);
  assert.deepEqual(mine[0].values, theirs[0].values);
  await client.runs.wait(copy.thread_id, "echo", { input: say("three") });
  assert.equal(texts((await client.threads.getState(thread)).values).length, 4);
  await refuses(client.threads.copy(absent), 404);
});

test("prune: delete, and keep_latest keeps the state and few older ones", async () => {
  const update = (n) => ({ updates: [{ values: { messages: [{ type: "ai", content: `${n}` }] }, asNode: "echo" }] });
  const { thread_id } = await client.threads.create({ graphId: "echo", supersteps: Array.from({ length: 120 }, (_, n) => update(n)) });
  const before = (await client.threads.getHistory(thread_id, { limit: 1000 })).length;
  const kept = await call("POST", "/threads/prune", { thread_ids: [thread_id], strategy: "keep_latest" });
  assert.equal(kept.json.pruned_count, 1, kept.text);
  assert.equal((await client.threads.getState(thread_id)).values.messages.length, 120);
  const after = (await client.threads.getHistory(thread_id, { limit: 1000 })).length;
  assert.ok(before >= 120 && after <= 50, `${before} states, then ${after}`);
  const other = await ran("x");
  const gone = await call("POST", "/threads/prune", { thread_ids: [other], strategy: "delete" });
  assert.equal(gone.json.pruned_count, 1, gone.text);
  await refuses(client.threads.get(other), 404);
  if (line !== "2.0.0") assert.equal((await client.threads.prune([thread_id])).pruned_count, 1);
});

test("GET state of a fresh thread: empty, without a checkpoint", async () => {
  const { thread_id } = await client.threads.create();
  const state = await client.threads.getState(thread_id);
  assert.deepEqual(state.values, {});
  assert.deepEqual(state.next, []);
  assert.deepEqual(state.tasks, []);
  assert.ok(state.checkpoint == null || state.checkpoint.checkpoint_id == null, JSON.stringify(state.checkpoint));
  await refuses(client.threads.getState(absent), 404);
});

test("GET state: a ThreadState with every field", async () => {
  const thread = await ran("hi");
  const state = await client.threads.getState(thread);
  assert.deepEqual(texts(state.values), ["hi", "echo: hi"]);
  assert.deepEqual(state.next, []);
  assert.deepEqual(state.tasks, []);
  assert.equal(state.metadata.source, "loop");
  assert.equal(typeof state.metadata.step, "number");
  isUUID(state.metadata.run_id);
  isTime(state.created_at);
  assert.equal(state.checkpoint.thread_id, thread);
  assert.equal(state.checkpoint.checkpoint_ns, "");
  assert.ok(state.checkpoint.checkpoint_id);
  assert.ok(state.parent_checkpoint.checkpoint_id);
  assert.deepEqual(state.interrupts ?? [], []);
});

test("GET state at a checkpoint, by id and by POST", async () => {
  const thread = await ran("one", "two");
  const history = await client.threads.getHistory(thread);
  const old = history.find((s) => texts(s.values).length === 2 && s.next.length === 0);
  const byID = await client.threads.getState(thread, old.checkpoint.checkpoint_id);
  assert.deepEqual(texts(byID.values), ["one", "echo: one"]);
  assert.equal(byID.checkpoint.checkpoint_id, old.checkpoint.checkpoint_id);
  assert.deepEqual((await client.threads.getState(thread, old.checkpoint)).values, byID.values);
  assert.equal((await client.threads.getState(thread, undefined, { subgraphs: true })).values.messages.length, 4);
  await refuses(client.threads.getState(thread, absent), 404);
});

test("POST history: newest first, limit, before, metadata; GET as well", async () => {
  const thread = await ran("one", "two");
  const all = await client.threads.getHistory(thread, { limit: 100 });
  assert.ok(all.length >= 4, `${all.length} states: each input and each step`);
  assert.deepEqual(texts(all[0].values), ["one", "echo: one", "two", "echo: two"]);
  assert.deepEqual(all.map((s) => s.created_at), all.map((s) => s.created_at).sort().reverse());
  for (let n = 0; n + 1 < all.length; n++) assert.equal(all[n].parent_checkpoint?.checkpoint_id, all[n + 1].checkpoint.checkpoint_id);
  assert.equal(all.at(-1).metadata.source, "input");
  assert.equal((await client.threads.getHistory(thread, { limit: 2 })).length, 2);
  const before = all[1].checkpoint.checkpoint_id;
  const older = await client.threads.getHistory(thread, { limit: 100, before: { configurable: { checkpoint_id: before } } });
  assert.equal(older[0].checkpoint.checkpoint_id, all[2].checkpoint.checkpoint_id);
  const plain = await call("POST", `/threads/${thread}/history`, { limit: 100, before });
  assert.equal(plain.json[0].checkpoint.checkpoint_id, all[2].checkpoint.checkpoint_id);
  for (const s of await client.threads.getHistory(thread, { limit: 100, metadata: { source: "input" } })) assert.equal(s.metadata.source, "input");
  const got = await call("GET", `/threads/${thread}/history?limit=3`);
  assert.equal(got.json.length, 3, got.text);
  const { thread_id } = await client.threads.create();
  assert.deepEqual(await client.threads.getHistory(thread_id), []);
  await refuses(client.threads.getHistory(absent), 404);
});

test("the default limit of history is 10", async () => {
  const thread = await ran("1", "2", "3", "4", "5");
  const answer = await call("POST", `/threads/${thread}/history`, {});
  assert.equal(answer.json.length, 10);
});

test("POST state: a new checkpoint, written as a node", async () => {
  const thread = await ran("hi");
  const before = await client.threads.getState(thread);
  const { checkpoint } = await client.threads.updateState(thread, { values: { messages: [{ type: "ai", content: "by hand" }] }, asNode: "echo" });
  assert.ok(checkpoint.checkpoint_id);
  const state = await client.threads.getState(thread);
  assert.equal(state.checkpoint.checkpoint_id, checkpoint.checkpoint_id);
  assert.equal(state.parent_checkpoint.checkpoint_id, before.checkpoint.checkpoint_id);
  assert.equal(texts(state.values).at(-1), "by hand");
  assert.equal(state.metadata.source, "update");
});

test("POST state at an older checkpoint: a fork", async () => {
  const thread = await ran("one", "two");
  const old = (await client.threads.getHistory(thread)).find((s) => texts(s.values).length === 2 && s.next.length === 0);
  await client.threads.updateState(thread, { values: { messages: [{ type: "ai", content: "forked" }] }, checkpointId: old.checkpoint.checkpoint_id, asNode: "echo" });
  assert.deepEqual(texts((await client.threads.getState(thread)).values), ["one", "echo: one", "forked"]);
});

test("POST state while busy: 409", async () => {
  const { thread_id } = await client.threads.create();
  const run = await client.runs.create(thread_id, "slow", { input: say("x") });
  await begun(thread_id, run.run_id);
  await refuses(client.threads.updateState(thread_id, { values: say("y") }), 409);
  await client.runs.cancel(thread_id, run.run_id, true);
  await refuses(client.threads.updateState(absent, { values: say("y") }), 404);
});

test("POST state on a thread that never ran and has no graph: refused", async () => {
  const { thread_id } = await client.threads.create();
  const answer = await call("POST", `/threads/${thread_id}/state`, { values: say("x") });
  assert.ok([400, 409, 422].includes(answer.status), answer.text);
  assert.equal(typeof answer.json.detail, "string");
});

test("POST state as __end__ with values null ends the thread", async () => {
  const { thread } = await paused();
  await client.threads.updateState(thread, { values: null, asNode: "__end__" });
  const after = await client.threads.get(thread);
  assert.equal(after.status, "idle");
  assert.deepEqual(after.interrupts, {});
  assert.deepEqual((await client.threads.getState(thread)).next, []);
});

test("the thread's own fields follow its runs", async () => {
  const { thread_id, updated_at } = await client.threads.create();
  await client.runs.wait(thread_id, "echo", { input: say("x") });
  const thread = await client.threads.get(thread_id);
  assert.deepEqual(texts(thread.values), ["x", "echo: x"]);
  assert.ok(thread.updated_at > updated_at);
  const run = await client.runs.create(thread_id, "echo", { input: say("y") });
  await ended(thread_id, run.run_id);
  await until("the thread is idle", () => client.threads.get(thread_id), (t) => t.status === "idle");
});
