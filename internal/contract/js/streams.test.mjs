// Contract 4: frames of the legacy stream, one test per rule.
import assert from "node:assert/strict";
import { absent, begun, call, client, ended, frames, gather, isUUID, line, paused, ran, read, refuses, say, test, texts, until, uuid } from "./session.mjs";

const fresh = async () => (await client.threads.create()).thread_id;
const streamed = (thread, body) => read("POST", `/threads/${thread}/runs/stream`, { assistant_id: "echo", input: say("hi"), ...body });
const named = (out, event) => out.frames.filter((f) => f.event === event).map((f) => f.data);

test("a stream is SSE with Content-Location and Location, which is a path", async () => {
  const thread = await fresh();
  const { response } = await streamed(thread, {});
  const at = response.headers.get("content-location");
  assert.match(at, new RegExp(`^/threads/${thread}/runs/[0-9a-f-]{36}$`));
  assert.equal(response.headers.get("location"), at + "/stream");
  assert.match(response.headers.get("cache-control") ?? "no-store", /no-(store|cache)/);
});

test("first metadata {run_id, attempt}, last end with null", async () => {
  const thread = await fresh();
  const { frames: all } = await streamed(thread, {});
  assert.equal(all[0].event, "metadata");
  isUUID(all[0].data.run_id);
  assert.equal(all[0].data.attempt, 1);
  assert.equal(all.at(-1).event, "end");
  assert.equal(all.at(-1).data, null);
  assert.equal(all.filter((f) => f.event === "metadata").length, 1);
});

test("values is the default: the whole state after each step", async () => {
  const out = await streamed(await fresh(), {});
  const values = named(out, "values");
  assert.deepEqual(values.map((v) => texts(v)), [["hi"], ["hi", "echo: hi"]]);
  assert.deepEqual([...new Set(out.frames.map((f) => f.event))], ["metadata", "values", "end"]);
});

test("updates: {node: update}", async () => {
  const out = await streamed(await fresh(), { stream_mode: ["updates"] });
  const updates = named(out, "updates");
  assert.equal(updates.length, 1);
  assert.deepEqual(Object.keys(updates[0]), ["echo"]);
  assert.deepEqual(texts(updates[0].echo), ["echo: hi"]);
});

test("updates: an interrupt is {__interrupt__: [{id, value}]}", async () => {
  const out = await streamed(await fresh(), { assistant_id: "approval", stream_mode: ["updates"] });
  const [{ id, value }] = named(out, "updates").at(-1).__interrupt__;
  assert.ok(id && value.action_requests);
});

test("values: at an interrupt a further one with __interrupt__", async () => {
  const out = await streamed(await fresh(), { assistant_id: "approval", stream_mode: ["values"] });
  assert.ok(named(out, "values").at(-1).__interrupt__[0].id);
  assert.equal(out.frames.at(-1).event, "end");
});

test("messages-tuple: [chunk, metadata]; only the new text, under the final id", async () => {
  const thread = await fresh();
  const out = await streamed(thread, { assistant_id: "slow", stream_mode: ["messages-tuple"] });
  const chunks = named(out, "messages").filter(([m]) => ["ai", "AIMessageChunk"].includes(m.type));
  assert.ok(chunks.length > 1, "tokens come one by one");
  const { values } = await client.threads.getState(thread);
  const last = values.messages.at(-1);
  assert.deepEqual([...new Set(chunks.map(([m]) => m.id))], [last.id]);
  assert.equal(chunks.map(([m]) => (typeof m.content === "string" ? m.content : m.content.map((b) => b.text ?? "").join(""))).join(""), texts(values).at(-1));
  for (const [, meta] of chunks) {
    assert.equal(typeof meta.langgraph_node, "string");
    assert.equal(typeof meta.langgraph_step, "number");
  }
});

test("messages: metadata once, partial grows, complete is whole", async () => {
  const thread = await fresh();
  const out = await streamed(thread, { assistant_id: "slow", stream_mode: ["messages"] });
  const last = (await client.threads.getState(thread)).values.messages.at(-1);
  const meta = named(out, "messages/metadata").find((m) => last.id in m);
  assert.equal(typeof meta[last.id].metadata, "object");
  const partial = named(out, "messages/partial").map(([m]) => m).filter((m) => m.id === last.id).map((m) => texts({ messages: [m] })[0].length);
  assert.ok(partial.length > 1);
  assert.deepEqual(partial, [...partial].sort((a, b) => a - b), "it grows");
  assert.equal(partial.at(-1), texts({ messages: [last] })[0].length, "to the whole message");
});

test("messages: a message that no model streams is complete at once", async () => {
  const out = await streamed(await fresh(), { stream_mode: ["messages"] });
  assert.ok(named(out, "messages/complete").flat().some((m) => texts({ messages: [m] })[0] === "echo: hi"));
});

test("custom: what the graph wrote", async () => {
  const out = await streamed(await fresh(), { assistant_id: "slow", stream_mode: ["custom"] });
  assert.deepEqual(named(out, "custom"), [{ tick: 0 }]);
});

test("events: on_chain_start of each node, with metadata.langgraph_node", async () => {
  const out = await streamed(await fresh(), { stream_mode: ["events"] });
  const events = named(out, "events");
  const begin = events.find((e) => e.event === "on_chain_start" && e.metadata.langgraph_node === "echo");
  assert.ok(begin, JSON.stringify(events.map((e) => e.event)));
  assert.equal(typeof begin.name, "string");
  assert.equal(typeof begin.run_id, "string");
  assert.ok("data" in begin);
  assert.ok(events.some((e) => e.event === "on_chain_end"));
});

test("debug: checkpoint, task, task_result with step, timestamp and payload", async () => {
  const out = await streamed(await fresh(), { stream_mode: ["debug"] });
  const debug = named(out, "debug");
  for (const type of ["checkpoint", "task", "task_result"]) {
    const one = debug.find((d) => d.type === type);
    assert.ok(one, type);
    assert.equal(typeof one.step, "number");
    assert.ok(Date.parse(one.timestamp));
    assert.equal(typeof one.payload, "object");
  }
});

test("debug: no checkpoint events on a stateless run", async () => {
  const out = await read("POST", "/runs/stream", { assistant_id: "echo", input: say("x"), stream_mode: ["debug"] });
  assert.ok(named(out, "debug").length);
  assert.equal(named(out, "debug").some((d) => d.type === "checkpoint"), false);
});

test("tasks: begun {id, name, input, triggers, interrupts}, then {id, name, result}", async () => {
  const out = await streamed(await fresh(), { stream_mode: ["tasks"] });
  const tasks = named(out, "tasks").filter((t) => t.name === "echo");
  const [begin, end] = tasks;
  assert.equal(tasks.length, 2);
  for (const name of ["id", "name", "input", "triggers", "interrupts"]) assert.ok(name in begin, name);
  assert.equal(end.id, begin.id);
  assert.ok("result" in end && "interrupts" in end);
});

test("checkpoints: values, next, metadata, tasks, checkpoint, parent_checkpoint", async () => {
  const thread = await fresh();
  const out = await streamed(thread, { stream_mode: ["checkpoints"] });
  const all = named(out, "checkpoints");
  assert.ok(all.length >= 2);
  for (const name of ["values", "next", "metadata", "tasks", "checkpoint", "parent_checkpoint"]) assert.ok(name in all.at(-1), name);
  assert.deepEqual(texts(all.at(-1).values), ["hi", "echo: hi"]);
  const history = await client.threads.getHistory(thread);
  assert.equal(all.at(-1).checkpoint.checkpoint_id, history[0].checkpoint.checkpoint_id);
});

test("tools: {event, toolCallId}, from on_tool_start to on_tool_end", async () => {
  const { thread } = await paused();
  const out = await streamed(thread, { assistant_id: "approval", input: null, command: { resume: "yes" }, stream_mode: ["tools", "values"] });
  assert.equal(out.frames.at(-1).event, "end");
  for (const f of named(out, "tools")) {
    assert.match(f.event, /^on_tool_(start|event|end|error)$/);
    assert.ok(f.toolCallId);
  }
});

test("several modes at once; new ones are accepted, one that nobody knows is 422", async () => {
  const out = await streamed(await fresh(), { stream_mode: ["values", "updates", "messages-tuple", "custom", "tools", "lifecycle"] });
  for (const event of ["values", "updates", "messages"]) assert.ok(named(out, event).length, event);
  const single = await streamed(await fresh(), { stream_mode: "updates" });
  assert.ok(named(single, "updates").length, "a single mode may come as text");
  const bad = await call("POST", `/threads/${await fresh()}/runs/stream`, { assistant_id: "echo", input: say("x"), stream_mode: ["values", "shouts"] });
  assert.equal(bad.status, 422);
  assert.match(bad.json.detail, /stream_mode/);
});

test("stream_subgraphs: names are mode or mode|ns", async () => {
  const out = await streamed(await fresh(), { stream_mode: ["values", "messages-tuple"], stream_subgraphs: true });
  assert.deepEqual([...new Set(out.frames.map((f) => f.event.split("|")[0]))].sort(), ["end", "messages", "metadata", "values"]);
  assert.ok(named(out, "values").length);
});

test("a failed run: error {error, message} comes last", async () => {
  const { frames: all } = await streamed(await fresh(), { assistant_id: "failing" });
  assert.equal(all.at(-1).event, "error");
  assert.match(all.at(-1).data.message, /boom/);
  assert.equal(typeof all.at(-1).data.error, "string");
});

test("404 and 422 are answered before a stream begins", async () => {
  const thread = await fresh();
  for (const [path, body, status] of [[`/threads/${absent}/runs/stream`, { assistant_id: "echo", input: say("x") }, 404],
    [`/threads/${thread}/runs/stream`, { assistant_id: "none", input: say("x") }, 404], [`/threads/${thread}/runs/stream`, { input: say("x") }, 422]]) {
    const answer = await call("POST", path, body);
    assert.equal(answer.status, status, path);
    assert.equal(typeof answer.json.detail, "string");
  }
});

test("stream_resumable: every frame has an id, unique and rising", async () => {
  const out = await streamed(await fresh(), { assistant_id: "stream50", stream_mode: ["messages-tuple", "values"], stream_resumable: true });
  const ids = out.frames.filter((f) => f.event !== "end").map((f) => f.id);
  assert.ok(ids.every((id) => id !== undefined && id !== ""), JSON.stringify(ids.slice(0, 3)));
  assert.equal(new Set(ids).size, ids.length);
  const parts = ids.map((id) => id.split(/[-.:]/).map(Number));
  for (let n = 1; n < parts.length; n++) {
    const at = parts[n].findIndex((v, i) => v !== parts[n - 1][i]);
    assert.ok(at >= 0 && parts[n][at] > (parts[n - 1][at] ?? -1), `${ids[n - 1]} then ${ids[n]}`);
  }
});

test("Last-Event-ID: what is after it, then live; -1 replays all", async () => {
  const thread = await fresh();
  const first = await streamed(thread, { assistant_id: "stream50", stream_mode: ["values", "messages-tuple"], stream_resumable: true });
  const path = first.response.headers.get("location");
  const all = await read("GET", `${path}?stream_mode=values&stream_mode=messages-tuple`, undefined, { "last-event-id": "-1" });
  const key = (f) => f.id + " " + f.event;
  const known = first.frames.filter((f) => f.id).map(key);
  assert.deepEqual(all.frames.filter((f) => f.id).map(key), known);
  const middle = Math.floor(known.length / 2);
  const rest = await read("GET", `${path}?stream_mode=values&stream_mode=messages-tuple`, undefined, { "last-event-id": first.frames.filter((f) => f.id)[middle].id });
  assert.deepEqual(rest.frames.filter((f) => f.id).map(key), known.slice(middle + 1));
});

test("a client that lost its stream goes on where it was, without gap or repeat", async () => {
  const thread = await fresh();
  const cut = new AbortController();
  const seen = [];
  let path;
  try {
    for await (const f of frames("POST", `/threads/${thread}/runs/stream`, { assistant_id: "slow", input: say("x"), stream_mode: ["messages-tuple"], stream_resumable: true, on_disconnect: "continue" }, {}, cut.signal)) {
      if (f.opened) { path = f.opened.headers.get("location"); continue; }
      if (f.event) seen.push(f);
      if (seen.filter((s) => s.event === "messages").length === 3) cut.abort();
    }
  } catch (error) {
    assert.equal(error.name, "AbortError");
  }
  const rest = await read("GET", `${path}?stream_mode=messages-tuple`, undefined, { "last-event-id": seen.findLast((f) => f.id).id });
  const said = [...seen, ...rest.frames].filter((f) => f.event === "messages").map((f) => f.data[0]).filter((m) => ["ai", "AIMessageChunk"].includes(m.type));
  const { values } = await client.threads.getState(thread);
  assert.equal(said.map((m) => texts({ messages: [m] })[0]).join(""), texts(values).at(-1));
  assert.equal(rest.frames.at(-1).event, "end");
});

test("joining a run that is over ends at once; an absent one is 404", async () => {
  const thread = await ran("x");
  const [run] = await client.runs.list(thread);
  const joined = await read("GET", `/threads/${thread}/runs/${run.run_id}/stream`);
  assert.equal(joined.frames.at(-1).event, "end");
  assert.equal((await call("GET", `/threads/${thread}/runs/${absent}/stream`)).status, 404);
});

test("several readers of one run each get all", async () => {
  const thread = await fresh();
  const run = await client.runs.create(thread, "slow", { input: say("x"), streamMode: ["values", "messages-tuple"], streamResumable: true });
  const readers = await Promise.all([1, 2, 3].map(() => read("GET", `/threads/${thread}/runs/${run.run_id}/stream`, undefined, { "last-event-id": "-1" })));
  const tokens = readers.map((r) => named(r, "messages").length);
  assert.ok(tokens[0] > 1);
  assert.deepEqual(tokens, [tokens[0], tokens[0], tokens[0]]);
});

test("the SDK joins a run: joinStream by mode", async () => {
  const thread = await fresh();
  const run = await client.runs.create(thread, "slow", { input: say("x"), streamMode: ["values", "updates"], streamResumable: true });
  const parts = await gather(client.runs.joinStream(thread, run.run_id, { streamMode: ["values"], lastEventId: "-1" }));
  assert.ok(parts.some((p) => p.event === "values"));
  assert.equal(parts.some((p) => p.event === "updates"), false, "only what was asked for");
  assert.equal((await client.runs.get(thread, run.run_id)).status, "success");
});

test("the SDK streams: parts, and the run's id by onRunCreated", async () => {
  const thread = await fresh();
  let at;
  const parts = await gather(client.runs.stream(thread, "echo", { input: say("hi"), streamMode: ["values", "messages-tuple"], onRunCreated: (m) => { at = m; } }));
  assert.equal(parts[0].event, "metadata");
  assert.equal(at.run_id, parts[0].data.run_id);
  assert.equal(at.thread_id, thread);
  assert.deepEqual(texts(parts.findLast((p) => p.event === "values").data), ["hi", "echo: hi"]);
  assert.equal(parts.some((p) => p.event === "error"), false);
});

test("the SDK streams a stateless run", async () => {
  let at;
  const parts = await gather(client.runs.stream(null, "echo", { input: say("hi"), onRunCreated: (m) => { at = m; } }));
  isUUID(at.run_id);
  assert.deepEqual(texts(parts.findLast((p) => p.event === "values").data), ["hi", "echo: hi"]);
  const raw = await read("POST", "/runs/stream", { assistant_id: "echo", input: say("x") });
  assert.match(raw.response.headers.get("content-location"), /^\/runs\/[0-9a-f-]{36}$/);
  assert.equal(raw.frames.at(-1).event, "end");
});

test("on_disconnect cancel: who hangs up stops the run", async () => {
  const thread = await fresh();
  const cut = new AbortController();
  let run;
  await assert.rejects(async () => {
    for await (const f of frames("POST", `/threads/${thread}/runs/stream`, { assistant_id: "slow", input: say("x"), stream_mode: ["messages-tuple"], on_disconnect: "cancel" }, {}, cut.signal)) {
      if (f.event === "metadata") run = f.data.run_id;
      if (f.event === "messages") cut.abort();
    }
  }, { name: "AbortError" });
  assert.equal((await ended(thread, run)).status, "interrupted");
});

test("on_disconnect continue: the run goes on", async () => {
  const thread = await fresh();
  const cut = new AbortController();
  let run;
  await assert.rejects(async () => {
    for await (const f of frames("POST", `/threads/${thread}/runs/stream`, { assistant_id: "slow", input: say("x"), stream_mode: ["messages-tuple"], on_disconnect: "continue" }, {}, cut.signal)) {
      if (f.event === "metadata") run = f.data.run_id;
      if (f.event === "messages") cut.abort();
    }
  }, { name: "AbortError" });
  assert.equal((await ended(thread, run)).status, "success");
});

test("cancelling a run ends its stream", async () => {
  const thread = await fresh();
  const out = [];
  for await (const f of frames("POST", `/threads/${thread}/runs/stream`, { assistant_id: "slow", input: say("x"), stream_mode: ["messages-tuple"] })) {
    if (f.event) out.push(f);
    if (f.event === "metadata") await call("POST", `/threads/${thread}/runs/${f.data.run_id}/cancel`);
  }
  assert.ok(["end", "error"].includes(out.at(-1).event), out.at(-1).event);
  assert.ok(out.length < 20, "it did not run to its end");
});

test("heartbeats: a comment every 5 s while nothing is said", { timeout: 40_000 }, async () => {
  const thread = await fresh();
  const [first, second] = [await client.runs.create(thread, "slow", { input: say("a") }), await client.runs.create(thread, "echo", { input: say("later"), afterSeconds: 12 })];
  assert.ok(first.run_id);
  const beats = [];
  for await (const f of frames("GET", `/threads/${thread}/runs/${second.run_id}/stream`, undefined, { "last-event-id": "-1" })) if (f.comment !== undefined && !f.event) beats.push(Date.now());
  assert.ok(beats.length >= 2, `${beats.length} beats`);
  for (let n = 1; n < beats.length; n++) assert.ok(Math.abs(beats[n] - beats[n - 1] - 5000) < 2000, `${beats[n] - beats[n - 1]} ms`);
});

test("GET /threads/{t}/stream: all runs of the thread, and it stays open", async () => {
  const thread = await fresh();
  const cut = new AbortController();
  const runs = new Set();
  let opened;
  const reading = (async () => {
    try {
      for await (const f of frames("GET", `/threads/${thread}/stream?stream_mode=run_modes`, undefined, { "last-event-id": "-1" }, cut.signal)) {
        if (f.opened) opened = true;
        if (f.event === "metadata") runs.add(f.data.run_id);
        if (runs.size === 2) cut.abort();
      }
    } catch (error) {
      assert.equal(error.name, "AbortError");
    }
  })();
  await until("the stream is open", async () => opened, Boolean);
  const one = await client.runs.create(thread, "echo", { input: say("a"), streamMode: ["values"], streamResumable: true });
  const two = await client.runs.create(thread, "echo", { input: say("b"), streamMode: ["values"], streamResumable: true });
  await reading;
  assert.deepEqual([...runs].sort(), [one.run_id, two.run_id].sort());
  assert.equal((await call("GET", `/threads/${absent}/stream`)).status, 404);
});

test("feedback_keys and other fields that we don't have are no failure", async () => {
  const out = await streamed(await fresh(), { feedback_keys: ["ok"], checkpoint_during: true, durability: "async", langsmith_tracer: { project_name: "x" }, webhook: null });
  assert.equal(out.frames.at(-1).event, "end");
});

test("a run on a checkpoint streams the fork", async () => {
  const thread = await ran("one", "two");
  const old = (await client.threads.getHistory(thread)).find((s) => texts(s.values).length === 2 && s.next.length === 0);
  const out = await streamed(thread, { input: say("other"), checkpoint: { checkpoint_id: old.checkpoint.checkpoint_id, checkpoint_ns: "", checkpoint_map: null } });
  assert.deepEqual(texts(named(out, "values").at(-1)), ["one", "echo: one", "other", "echo: other"]);
});

test("after a stream the run and the thread say how it went", async () => {
  const thread = await fresh();
  const out = await streamed(thread, { metadata: { by: "stream" } });
  const run = await client.runs.get(thread, out.frames[0].data.run_id);
  assert.equal(run.status, "success");
  assert.equal(run.metadata.by, "stream");
  assert.equal((await client.threads.get(thread)).status, "idle");
  const begin = await client.runs.create(thread, "slow", { input: say("x") });
  await begun(thread, begin.run_id);
  await client.runs.cancel(thread, begin.run_id, true);
});

if (line !== "2.0.0") {
  test("RemoteGraph's way: if_not_exists create on a thread that is not there", async () => {
    const parts = await gather(client.runs.stream(uuid(), "echo", { input: say("hi"), ifNotExists: "create", streamMode: ["values", "updates"], streamSubgraphs: true }));
    assert.ok(parts.some((p) => p.event === "updates" && p.data.echo));
    await refuses(client.runs.get(absent, absent), 404);
  });
}
