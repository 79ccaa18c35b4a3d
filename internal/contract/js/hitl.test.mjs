// Contract 5: a graph that waits for a person.
import assert from "node:assert/strict";
import { call, client, gather, paused, refuses, say, test, texts } from "./session.mjs";

test("runs/wait answers __interrupt__: a list of {id, value}", async () => {
  const { values } = await paused();
  assert.equal(values.__interrupt__.length, 1);
  const [{ id, value }] = values.__interrupt__;
  assert.ok(id);
  assert.ok(value.action_requests.length && value.review_configs.length);
});

test("a request has args and arguments, and the decisions that are allowed", async () => {
  const { values } = await paused();
  const { action_requests: [request], review_configs: [config] } = values.__interrupt__[0].value;
  assert.equal(typeof request.name, "string");
  assert.deepEqual(request.args, request.arguments);
  assert.equal(config.action_name, request.name);
  assert.ok(config.allowed_decisions.includes("approve"));
});

test("the same ids in wait, thread, state and its tasks", async () => {
  const { thread, values } = await paused();
  const [{ id }] = values.__interrupt__;
  const seen = await client.threads.get(thread);
  assert.equal(seen.status, "interrupted");
  const [[taskID, [open]]] = Object.entries(seen.interrupts);
  assert.equal(open.id, id);
  const state = await client.threads.getState(thread);
  assert.equal(state.next.length, 1);
  assert.equal(state.tasks[0].id, taskID);
  assert.deepEqual(state.tasks[0].interrupts.map((i) => i.id), [id]);
  assert.deepEqual(state.interrupts.map((i) => i.id), [id]);
  assert.deepEqual(state.tasks[0].interrupts[0].value, values.__interrupt__[0].value);
});

test("the stream says the interrupt as updates and as values, with the same id", async () => {
  const { thread_id } = await client.threads.create();
  const parts = await gather(client.runs.stream(thread_id, "approval", { input: say("email"), streamMode: ["values", "updates"] }));
  const [[open]] = Object.values((await client.threads.get(thread_id)).interrupts);
  for (const event of ["values", "updates"]) {
    const said = parts.filter((p) => p.event === event && p.data.__interrupt__);
    assert.ok(said.length, `${event} with __interrupt__`);
    assert.equal(said.at(-1).data.__interrupt__[0].id, open.id);
  }
});

const answers = {
  "the form of agent-chat-ui": { decisions: [{ type: "approve" }] },
  "the form of agent-inbox": [{ type: "accept", args: null }],
  "any value": "yes",
};
for (const [name, resume] of Object.entries(answers)) {
  test(`resume with ${name}: the run goes on to its end`, async () => {
    const { thread } = await paused();
    const values = await client.runs.wait(thread, "approval", { command: { resume } });
    assert.equal(values.__interrupt__, undefined);
    assert.equal(values.messages.at(-1).type, "ai");
    assert.ok(values.messages.some((m) => m.type === "tool"));
    assert.equal((await client.threads.get(thread)).status, "idle");
    assert.deepEqual((await client.threads.get(thread)).interrupts, {});
  });
}

test("resume by id", async () => {
  const { thread, values } = await paused();
  const done = await client.runs.wait(thread, "approval", { command: { resume: { [values.__interrupt__[0].id]: "yes" } } });
  assert.equal(done.messages.at(-1).type, "ai");
});

test("resume by stream and in the background", async () => {
  const { thread } = await paused();
  const parts = await gather(client.runs.stream(thread, "approval", { command: { resume: "yes" }, streamMode: ["values"] }));
  assert.equal(parts.findLast((p) => p.event === "values").data.messages.at(-1).type, "ai");
  const other = await paused();
  const run = await client.runs.create(other.thread, "approval", { command: { resume: "yes" } });
  assert.equal((await client.runs.join(other.thread, run.run_id)).messages.at(-1).type, "ai");
});

test("resume where nothing is open is 409, and changes nothing", async () => {
  const { thread } = await paused();
  await client.runs.wait(thread, "approval", { command: { resume: "yes" } });
  const before = (await client.threads.getState(thread)).values;
  await refuses(client.runs.create(thread, "approval", { command: { resume: "again" } }), 409, 422);
  assert.deepEqual((await client.threads.getState(thread)).values, before);
});

test("goto __end__ leaves the question: the thread is idle", async () => {
  const { thread } = await paused();
  await client.runs.wait(thread, "approval", { command: { goto: "__end__" } });
  assert.equal((await client.threads.get(thread)).status, "idle");
});

test("command.update writes into the state before it goes on", async () => {
  const { thread, values: { messages: [asked] } } = await paused();
  const values = await client.runs.wait(thread, "approval", { command: { resume: "yes", update: { messages: [{ id: asked.id, type: "human", content: "by the way" }] } } });
  assert.equal(texts(values)[0], "by the way");
  assert.equal(values.messages.at(-1).type, "ai");
});

test("agent-chat-ui resumes with input {}, a checkpoint and on_disconnect: it resumes, and doesn't fork", async () => {
  const { thread } = await paused();
  const state = await client.threads.getState(thread);
  const answer = await call("POST", `/threads/${thread}/runs/wait`, { assistant_id: "approval", input: {}, command: { resume: { decisions: [{ type: "approve" }] } },
    checkpoint: { ...state.checkpoint, checkpoint_map: null }, on_disconnect: "cancel" });
  assert.equal(answer.status, 200, answer.text);
  assert.equal(answer.json.messages.at(-1).type, "ai");
  assert.equal((await client.threads.get(thread)).status, "idle");
});

test("new input on a thread that waits supersedes the question", async () => {
  const { thread } = await paused();
  const values = await client.runs.wait(thread, "echo", { input: say("never mind") });
  assert.equal(texts(values).at(-1), "echo: never mind");
  assert.deepEqual((await client.threads.get(thread)).interrupts, {});
});

test("an interrupt is there after everything is read anew", async () => {
  const { thread } = await paused();
  const history = await call("POST", `/threads/${thread}/history`, { limit: 10 });
  assert.equal(history.json[0].tasks[0].interrupts.length, 1);
});
