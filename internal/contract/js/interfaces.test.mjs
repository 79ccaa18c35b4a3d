// Contract 6: request by request what agent-chat-ui and agent-inbox send, with
// every field of it, and every field of the answers that they read.
import assert from "node:assert/strict";
import { api, call, isTime, isUUID, paused, read, say, test, texts, uuid } from "./session.mjs";

// What the page's useStream sends with each message (SDK react, stream modes that
// the page uses), with block content and an id of the client's own.
const sent = (graph, text, id, more = {}) => ({
  input: { messages: [{ id, type: "human", content: [{ type: "text", text }] }] },
  config: {}, context: {}, metadata: undefined, stream_mode: ["values", "messages-tuple", "custom"], stream_subgraphs: true, stream_resumable: true,
  assistant_id: graph, on_disconnect: "continue", ...more,
});

const last = (out, event) => out.frames.filter((f) => f.event === event || f.event.startsWith(event + "|")).at(-1)?.data;

test("agent-chat-ui opens: /info with a key, its list of threads", async () => {
  const info = await fetch(api + "/info", { headers: { "x-api-key": process.env.HEDDLE_KEY } });
  assert.ok(info.ok);
  const list = await call("POST", "/threads/search", { metadata: { graph_id: "no-such-graph-yet" }, limit: 100, offset: 0 });
  assert.deepEqual(list.json, []);
});

test("agent-chat-ui: a conversation of two messages, history before and after", async () => {
  const made = await call("POST", "/threads", { metadata: {}, thread_id: uuid() });
  const thread = made.json.thread_id;
  isUUID(thread);
  const empty = await call("POST", `/threads/${thread}/history`, { limit: 10 });
  assert.deepEqual(empty.json, []);

  const id = uuid();
  const out = await read("POST", `/threads/${thread}/runs/stream`, sent("echo", "hello", id));
  assert.match(out.response.headers.get("content-location"), new RegExp(`^/threads/${thread}/runs/`));
  assert.equal(out.frames[0].event, "metadata");
  const values = last(out, "values");
  assert.equal(values.messages[0].id, id, "the page's own message is not doubled");
  assert.deepEqual(values.messages[0].content, [{ type: "text", text: "hello" }]);
  assert.equal(values.messages[1].type, "ai");

  const history = await call("POST", `/threads/${thread}/history`, { limit: 10 });
  const [head] = history.json;
  assert.equal(head.values.messages.length, 2);
  assert.deepEqual(head.next, []);
  for (const name of ["checkpoint", "parent_checkpoint", "metadata", "created_at", "tasks"]) assert.ok(name in head, name);
  assert.ok(head.checkpoint.checkpoint_id);

  // An ordinary message carries the head's checkpoint.
  const next = await read("POST", `/threads/${thread}/runs/stream`, sent("echo", "again", uuid(), { checkpoint: { ...head.checkpoint, checkpoint_map: null } }));
  assert.equal(last(next, "values").messages.length, 4);

  const list = await call("POST", "/threads/search", { metadata: { graph_id: "echo" }, limit: 100, offset: 0 });
  const mine = list.json.find((t) => t.thread_id === thread);
  assert.ok(mine, "the thread is in the page's list");
  assert.deepEqual(mine.values.messages[0].content, [{ type: "text", text: "hello" }], "its first message is its title");
  isTime(mine.created_at);
});

test("agent-chat-ui edits a message and regenerates an answer by the parent checkpoint", async () => {
  const { json: { thread_id: thread } } = await call("POST", "/threads", {});
  await read("POST", `/threads/${thread}/runs/stream`, sent("echo", "one", uuid()));
  const { json: history } = await call("POST", `/threads/${thread}/history`, { limit: 10 });
  const first = history.find((s) => s.values.messages?.length === 1);
  const answered = history[0];
  // Regenerate: no input, from the checkpoint before the answer.
  const again = await read("POST", `/threads/${thread}/runs/stream`, { ...sent("echo", "", ""), input: null, checkpoint: { ...first.checkpoint, checkpoint_map: null } });
  assert.deepEqual(texts(last(again, "values")), ["one", "echo: one"]);
  assert.notEqual(last(again, "values").messages[1].id, answered.values.messages[1].id);
  // Edit: another first message, from before it.
  const edited = await read("POST", `/threads/${thread}/runs/stream`, sent("echo", "uno", uuid(), { checkpoint: { ...first.parent_checkpoint, checkpoint_map: null } }));
  assert.deepEqual(texts(last(edited, "values")), ["uno", "echo: uno"]);
  const branches = await call("POST", `/threads/${thread}/history`, { limit: 100 });
  assert.ok(branches.json.length > history.length, "the other branches are still in the history");
});

test("agent-chat-ui: its cancel only stops the display, the next message lines up", async () => {
  const { json: { thread_id: thread } } = await call("POST", "/threads", {});
  const cut = new AbortController();
  const response = await fetch(`${api}/threads/${thread}/runs/stream`, { method: "POST", signal: cut.signal,
    headers: { "x-api-key": process.env.HEDDLE_KEY, "content-type": "application/json" }, body: JSON.stringify(sent("slow", "long", uuid())) });
  assert.equal(response.status, 200);
  cut.abort();
  const out = await read("POST", `/threads/${thread}/runs/stream`, sent("echo", "next", uuid()));
  const said = texts(last(out, "values"));
  assert.equal(said[0], "long");
  assert.deepEqual(said.slice(-2), ["next", "echo: next"]);
  assert.equal(said.length, 4, "the first run came to its end");
});

test("agent-chat-ui reloads: it joins the run with Last-Event-ID -1", async () => {
  const { json: { thread_id: thread } } = await call("POST", "/threads", {});
  const { json: run } = await call("POST", `/threads/${thread}/runs`, sent("slow", "x", uuid()));
  const out = await read("GET", `/threads/${thread}/runs/${run.run_id}/stream?cancel_on_disconnect=0`, undefined, { "last-event-id": "-1" });
  assert.ok(out.frames.filter((f) => f.event.split("|")[0] === "messages").length > 1);
  assert.equal(last(out, "values").messages.length, 2);
});

for (const [name, decision] of Object.entries({ approve: { type: "approve" }, edit: { type: "edit", edited_action: { name: "send_email", args: { to: "bob@example.com" } } }, reject: { type: "reject", message: "no" } })) {
  test(`agent-chat-ui shows an interrupt and answers with ${name}`, async () => {
    const { json: { thread_id: thread } } = await call("POST", "/threads", {});
    const out = await read("POST", `/threads/${thread}/runs/stream`, sent("approval", "email bob", uuid()));
    const [interrupt] = last(out, "values").__interrupt__;
    const value = Array.isArray(interrupt.value) ? interrupt.value[0] : interrupt.value;
    assert.ok(value.action_requests.length && value.action_requests.every((r) => typeof r.name === "string" && typeof r.args === "object"));
    assert.ok(value.review_configs.length && value.review_configs.every((c) => c.action_name && ["approve", "edit", "reject"].every((d) => c.allowed_decisions.includes(d))));
    const { json: [head] } = await call("POST", `/threads/${thread}/history`, { limit: 10 });
    assert.deepEqual(head.tasks.at(-1).interrupts.map((i) => i.id), [interrupt.id], "after a reload it is still there");
    const resumed = await read("POST", `/threads/${thread}/runs/stream`, { ...sent("approval", "", ""), input: {}, command: { resume: { decisions: [decision] } },
      checkpoint: { ...head.checkpoint, checkpoint_map: null }, on_disconnect: "cancel" });
    const values = last(resumed, "values");
    assert.equal(values.messages.at(-1).type, "ai");
    assert.equal(values.messages.filter((m) => m.type === "human").length, 1, "resumed, not begun again");
    assert.equal((await call("GET", `/threads/${thread}`)).json.status, "idle");
  });
}

test("agent-chat-ui marks as resolved: goto __end__", async () => {
  const { thread } = await paused();
  const out = await read("POST", `/threads/${thread}/runs/stream`, { ...sent("approval", "", ""), input: {}, command: { goto: "__end__" } });
  assert.notEqual(out.frames.at(-1).event, "error");
  const after = await call("GET", `/threads/${thread}`);
  assert.equal(after.json.status, "idle");
  assert.deepEqual(after.json.interrupts, {});
});

test("agent-inbox opens: /info without a key and with a JSON content type", async () => {
  const info = await fetch(api + "/info", { headers: { "content-type": "application/json" } });
  assert.ok(info.ok);
  assert.ok("host" in await info.json());
});

test("agent-inbox: its list, a thread, its state", async () => {
  const { thread } = await paused();
  const list = await call("POST", "/threads/search", { metadata: { graph_id: "approval" }, status: "interrupted", limit: 10, offset: 0 });
  const found = list.json.find((t) => t.thread_id === thread);
  assert.ok(found);
  const [[open]] = Object.values(found.interrupts);
  assert.ok(open.id);
  const { json: one } = await call("GET", `/threads/${thread}`);
  assert.equal(one.status, "interrupted");
  assert.ok(Object.values(one.interrupts)[0][0].value);
  const { json: state } = await call("GET", `/threads/${thread}/state`);
  assert.equal(state.tasks.at(-1).interrupts[0].id, open.id);
  // The inbox reads arguments where the chat reads args.
  const value = Array.isArray(open.value) ? open.value[0] : open.value;
  assert.ok(value.action_request?.args ?? value.action_requests[0].arguments);
});

for (const [name, answer] of Object.entries({ accept: { type: "accept", args: null }, response: { type: "response", args: "write to Ada instead" }, edit: { type: "edit", args: { action: "send_email", args: { to: "ada@acme.test" } } } })) {
  test(`agent-inbox answers with ${name}, always a list of one`, async () => {
    const { thread } = await paused();
    const out = await read("POST", `/threads/${thread}/runs/stream`, { assistant_id: "approval", command: { resume: [answer] }, stream_mode: ["events"] });
    const nodes = out.frames.filter((f) => f.event === "events" && f.data.event === "on_chain_start").map((f) => f.data.metadata?.langgraph_node).filter(Boolean);
    assert.ok(nodes.length, "it shows which node works");
    assert.equal((await call("GET", `/threads/${thread}`)).json.status, "idle");
  });
}

test("agent-inbox answers without watching: POST runs", async () => {
  const { thread } = await paused();
  const { status, json } = await call("POST", `/threads/${thread}/runs`, { assistant_id: "approval", command: { resume: [{ type: "accept", args: null }] } });
  assert.equal(status, 200);
  const joined = await call("GET", `/threads/${thread}/runs/${json.run_id}/join`);
  assert.equal(joined.json.messages.at(-1).type, "ai");
});

test("agent-inbox ignores: update state as __end__, and it is gone from the list", async () => {
  const { thread } = await paused();
  const done = await call("POST", `/threads/${thread}/state`, { values: null, as_node: "__end__" });
  assert.equal(done.status, 200, done.text);
  assert.ok(done.json.checkpoint);
  const list = await call("POST", "/threads/search", { metadata: { graph_id: "approval" }, status: "interrupted", limit: 100, offset: 0 });
  assert.equal(list.json.some((t) => t.thread_id === thread), false);
});

test("both: new input after a stop is new input, not an answer", async () => {
  const { thread } = await paused();
  await call("POST", `/threads/${thread}/state`, { values: null, as_node: "__end__" });
  const out = await read("POST", `/threads/${thread}/runs/stream`, sent("echo", "something else", uuid()));
  assert.equal(texts(last(out, "values")).at(-1), "echo: something else");
  assert.ok(say);
});
