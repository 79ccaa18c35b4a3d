// Contract 3 and 6: states, and editing a message as agent-chat-ui's page does with
// useStream. What the page knows of branches it computes with the SDK's own code, from
// the history.
import assert from "node:assert/strict";
import { pathToFileURL } from "node:url";
import path from "node:path";
import { call, client, gather, ran, read, refuses, say, test, texts, uuid } from "./session.mjs";

const { getBranchContext } = await import(pathToFileURL(path.join(path.dirname(process.env.HEDDLE_SDK), "ui/branching.js")).href);

// page is what useStream makes of a thread, and what the page's messages know.
async function page(thread, branch = "") {
  const history = await client.threads.getHistory(thread, { limit: 10 });
  const context = getBranchContext(branch, history);
  const values = context.threadHead?.values ?? {};
  const of = (message) => {
    const firstSeenState = history.findLast((s) => (s.values.messages ?? []).some((m) => m.id === message.id));
    return { firstSeenState, ...context.branchByCheckpoint[firstSeenState?.checkpoint?.checkpoint_id] };
  };
  return { history, values, of, head: context.threadHead };
}

// edit sends what handleSubmitEdit of the page's HumanMessage does.
async function edit(thread, message, text, seen) {
  const { firstSeenState } = seen.of(message);
  const parts = await gather(client.runs.stream(thread, "echo", {
    input: { messages: [{ type: "human", content: text }] }, checkpoint: firstSeenState?.parent_checkpoint,
    streamMode: ["values"], streamSubgraphs: true, streamResumable: true, onDisconnect: "continue",
  }));
  return parts.filter((p) => p.event === "values").at(-1).data;
}

test("agent-chat-ui edits the very first message, and shows both branches", async () => {
  const thread = await ran("one", "two");
  const before = await page(thread);
  assert.deepEqual(texts(before.values), ["one", "echo: one", "two", "echo: two"]);
  assert.equal(before.of(before.values.messages[0]).branchOptions?.length ?? 0, 0, "there is one branch");
  assert.ok(before.of(before.values.messages[0]).firstSeenState.parent_checkpoint, "there is a checkpoint to begin anew at");
  assert.deepEqual(texts(await edit(thread, before.values.messages[0], "uno", before)), ["uno", "echo: uno"]);

  const after = await page(thread);
  assert.deepEqual(texts(after.values), ["uno", "echo: uno"], "the newest branch is shown");
  assert.deepEqual(texts((await client.threads.getState(thread)).values), ["uno", "echo: uno"]);
  const { branch, branchOptions } = after.of(after.values.messages[0]);
  assert.equal(branchOptions.length, 2, "the page offers both");
  assert.equal(branch, branchOptions[1]);
  const old = await page(thread, branchOptions[0]);
  assert.deepEqual(texts(old.values), ["one", "echo: one", "two", "echo: two"], "the old one is still there");
  assert.equal(old.of(old.values.messages[0]).branch, branchOptions[0]);

  // From the branch that is shown, a third; the next message goes on in it.
  assert.deepEqual(texts(await edit(thread, old.values.messages[0], "un", old)), ["un", "echo: un"]);
  const third = await page(thread);
  assert.equal(third.of(third.values.messages[0]).branchOptions.length, 3);
  const went = await client.runs.wait(thread, "echo", { input: say("deux"), checkpoint: third.head.checkpoint });
  assert.deepEqual(texts(went), ["un", "echo: un", "deux", "echo: deux"]);
  // On the branch that was left, too: a message goes where its page stands.
  const there = await client.runs.wait(thread, "echo", { input: say("three"), checkpoint: old.head.checkpoint });
  assert.deepEqual(texts(there), ["one", "echo: one", "two", "echo: two", "three", "echo: three"]);
});

test("agent-chat-ui edits the first message of a run that began anew, and a later one", async () => {
  const thread = await ran("one", "two");
  let seen = await page(thread);
  await edit(thread, seen.values.messages[0], "uno", seen);
  seen = await page(thread);
  assert.deepEqual(texts(await edit(thread, seen.values.messages[0], "un", seen)), ["un", "echo: un"]);
  seen = await page(thread, "");
  assert.equal(seen.of(seen.values.messages[0]).branchOptions.length, 3);
  await client.runs.wait(thread, "echo", { input: say("deux"), checkpoint: seen.head.checkpoint });
  seen = await page(thread);
  assert.deepEqual(texts(await edit(thread, seen.values.messages[2], "zwei", seen)), ["un", "echo: un", "zwei", "echo: zwei"]);
});

test("history ends with what is before the first step: empty values, __start__, step -1, no parent", async () => {
  const thread = await ran("one");
  const all = await client.threads.getHistory(thread, { limit: 100 });
  assert.equal(all.length, 3, "the input's step, the node's, and the one before");
  const start = all.at(-1);
  assert.deepEqual([start.values, start.next, start.parent_checkpoint, start.metadata.step, start.metadata.source], [{ messages: [] }, ["__start__"], null, -1, "input"]);
  assert.equal(start.checkpoint.checkpoint_ns, "");
  assert.deepEqual(start.tasks.map((t) => t.name), ["__start__"]);
  assert.deepEqual(await client.threads.getState(thread, start.checkpoint.checkpoint_id), start);
  assert.deepEqual(await client.threads.getState(thread, start.checkpoint), start);
  assert.deepEqual((await client.threads.getHistory(thread, { limit: 2 })).length, 2);
  assert.deepEqual(await client.threads.getHistory(thread, { before: { configurable: all[1].checkpoint } }), [start]);
  assert.deepEqual(await client.threads.getHistory(thread, { before: { configurable: start.checkpoint } }), []);
});

test("frames of checkpoints and debug name it as the parent of the first step", async () => {
  const { thread_id: thread } = await client.threads.create();
  const body = { assistant_id: "echo", input: { messages: [{ id: uuid(), type: "human", content: "one" }] }, stream_mode: ["checkpoints", "debug"] };
  const out = await read("POST", `/threads/${thread}/runs/stream`, body);
  const start = (await client.threads.getHistory(thread)).at(-1).checkpoint;
  const first = (frames) => {
    const made = frames.find((f) => f.event === "checkpoints").data;
    assert.deepEqual(made.parent_checkpoint, start);
    assert.deepEqual(made.parent_config, { configurable: start });
    assert.deepEqual(frames.find((f) => f.event === "debug" && f.data.type === "checkpoint").data.payload.parent_checkpoint, start);
  };
  first(out.frames);
  const anew = await read("POST", `/threads/${thread}/runs/stream`, { ...body, checkpoint: start });
  first(anew.frames);
  const again = await call("POST", `/threads/${thread}/runs`, { assistant_id: "echo", input: null, checkpoint: start });
  assert.equal(again.status, 422, "nothing is due there but input");
});

test("a subgraph that asks: its state within the thread's, by its checkpoint, its history", async () => {
  const { thread_id: thread } = await client.threads.create();
  await client.runs.wait(thread, "nested", { input: say("hi") });
  const { tasks: [plain] } = await client.threads.getState(thread);
  assert.equal(plain.state, null);
  assert.match(plain.checkpoint.checkpoint_ns, /^sub:[0-9a-f-]{36}$/);
  const { tasks: [whole], values } = await client.threads.getState(thread, undefined, { subgraphs: true });
  assert.deepEqual(texts(values), ["hi"]);
  assert.equal(whole.checkpoint, null);
  assert.deepEqual(texts(whole.state.values), ["hi", "inside"]);
  assert.deepEqual(whole.state.next, ["ask"]);
  assert.deepEqual(whole.state.tasks[0].interrupts, plain.interrupts);
  assert.deepEqual(await client.threads.getState(thread, plain.checkpoint), whole.state);
  assert.deepEqual(await client.threads.getState(thread, whole.state.checkpoint, { subgraphs: true }), whole.state);
  const inside = await client.threads.getHistory(thread, { checkpoint: plain.checkpoint });
  assert.deepEqual(inside[0], whole.state);
  assert.deepEqual(inside.map((s) => s.checkpoint.checkpoint_ns), inside.map(() => plain.checkpoint.checkpoint_ns));
  await refuses(client.threads.getState(thread, { ...plain.checkpoint, checkpoint_ns: "sub:" + uuid() }), 404);
  await refuses(client.threads.updateState(thread, { values: say("x"), checkpoint: whole.state.checkpoint }), 422);
  await client.runs.wait(thread, "nested", { command: { resume: "yes" } });
  const after = await client.threads.getState(thread, undefined, { subgraphs: true });
  assert.deepEqual([texts(after.values), after.tasks], [["hi", "inside"], []]);
});

test("a run that failed: the due task has its error, the thread the status", async () => {
  const { thread_id: thread } = await client.threads.create();
  const failed = await call("POST", `/threads/${thread}/runs/wait`, { assistant_id: "failing", input: say("go") });
  const state = await client.threads.getState(thread);
  assert.deepEqual(state.tasks.map((t) => JSON.parse(t.error)), [failed.json.__error__]);
  assert.equal((await client.threads.get(thread)).status, "error");
  assert.deepEqual((await client.threads.getHistory(thread))[0], state);
});
