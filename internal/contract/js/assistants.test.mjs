// Contract 3, Assistants. Only administrators may change assistants here.
import assert from "node:assert/strict";
import { absent, admin, call, client, isTime, isUUID, keys, refuses, say, test, texts, uuid } from "./session.mjs";

const made = (more = {}) => admin.assistants.create({ graphId: "echo", name: "test " + uuid(), ...more });

test("every graph has a default assistant, found by its name", async () => {
  const [assistant] = await client.assistants.search({ graphId: "echo", metadata: { created_by: "system" } });
  isUUID(assistant.assistant_id);
  assert.equal(assistant.graph_id, "echo");
  assert.equal((await client.assistants.get("echo")).assistant_id, assistant.assistant_id, "a graph id works wherever assistant_id does");
  assert.equal((await client.assistants.get(assistant.assistant_id)).graph_id, "echo");
});

test("POST: an Assistant with every field", async () => {
  const name = "test " + uuid();
  const a = await admin.assistants.create({ graphId: "echo", name, description: "says it again", metadata: { team: "a" }, config: { tags: ["x"], recursion_limit: 9, configurable: { theme: "dark" } } });
  isUUID(a.assistant_id);
  isTime(a.created_at);
  isTime(a.updated_at);
  assert.equal(a.graph_id, "echo");
  assert.equal(a.name, name);
  assert.equal(a.description, "says it again");
  assert.equal(a.version, 1);
  assert.equal(a.metadata.team, "a");
  assert.equal(a.config.configurable.theme, "dark");
  assert.ok("context" in a);
  assert.deepEqual(await admin.assistants.get(a.assistant_id), a);
});

test("POST with an id: 409 if it exists, do_nothing gives it; 404 for an unknown graph", async () => {
  const assistantId = uuid();
  const first = await made({ assistantId });
  assert.equal(first.assistant_id, assistantId);
  await refuses(made({ assistantId }), 409);
  assert.equal((await made({ assistantId, ifExists: "do_nothing" })).name, first.name);
  await refuses(made({ graphId: "no-such-graph" }), 404);
  const answer = await call("POST", "/assistants", { name: "x" }, { "x-api-key": keys.admin });
  assert.equal(answer.status, 422, "graph_id is required");
});

test("PATCH makes a version; metadata is merged", async () => {
  const a = await made({ metadata: { a: 1, b: 1 } });
  const b = await admin.assistants.update(a.assistant_id, { name: "second", metadata: { b: 2 }, config: { configurable: { theme: "light" } } });
  assert.equal(b.version, 2);
  assert.equal(b.name, "second");
  assert.equal(b.metadata.a, 1);
  assert.equal(b.metadata.b, 2);
  assert.equal((await admin.assistants.get(a.assistant_id)).version, 2);
  await refuses(admin.assistants.update(absent, { name: "x" }), 404);
});

test("versions: newest first; latest goes back to one", async () => {
  const a = await made();
  await admin.assistants.update(a.assistant_id, { name: "second" });
  await admin.assistants.update(a.assistant_id, { name: "third" });
  const versions = await client.assistants.getVersions(a.assistant_id);
  assert.deepEqual(versions.map((v) => v.version), [3, 2, 1]);
  assert.deepEqual((await client.assistants.getVersions(a.assistant_id, { limit: 1, offset: 1 })).map((v) => v.version), [2]);
  const back = await admin.assistants.setLatest(a.assistant_id, 1);
  assert.equal(back.name, a.name);
  assert.equal((await client.assistants.get(a.assistant_id)).name, a.name);
  await refuses(admin.assistants.setLatest(a.assistant_id, 99), 404);
  await refuses(client.assistants.getVersions(absent), 404);
});

test("search: metadata, graph, part of the name, paging with the SDK's next, select", async () => {
  const group = uuid();
  const ids = [];
  for (const n of [1, 2, 3]) ids.push((await made({ name: `needle-${group}-${n}`, metadata: { group } })).assistant_id);
  const found = await client.assistants.search({ metadata: { group } });
  assert.deepEqual(found.map((a) => a.assistant_id), [...ids].reverse(), "newest first");
  assert.equal((await client.assistants.search({ metadata: { group }, graphId: "slow" })).length, 0);
  const byName = await call("POST", "/assistants/search", { name: `needle-${group}` });
  assert.equal(byName.json.length, 3);
  const page = await client.assistants.search({ metadata: { group }, limit: 2, includePagination: true });
  assert.equal(page.assistants.length, 2);
  assert.equal(page.next, "2");
  const rest = await client.assistants.search({ metadata: { group }, limit: 2, offset: 2, includePagination: true });
  assert.equal(rest.assistants.length, 1);
  assert.equal(rest.next, null);
  const full = await client.assistants.search({ metadata: { group }, limit: 3, includePagination: true });
  assert.equal(full.next, null, "exactly full, nothing is left");
  const picked = await call("POST", "/assistants/search", { metadata: { group }, select: ["assistant_id", "name"] });
  assert.equal(picked.headers.get("x-pagination-total"), "3");
  for (const a of picked.json) assert.deepEqual(Object.keys(a).sort(), ["assistant_id", "name"]);
  const sorted = await client.assistants.search({ metadata: { group }, sortBy: "name", sortOrder: "asc" });
  assert.deepEqual(sorted.map((a) => a.assistant_id), ids);
});

test("count: a bare integer", async () => {
  const group = uuid();
  await made({ metadata: { group } });
  assert.equal((await call("POST", "/assistants/count", { metadata: { group } })).json, 1);
  if (client.assistants.count) assert.equal(await client.assistants.count({ metadata: { group }, graphId: "echo" }), 1);
});

test("DELETE: gone afterwards", async () => {
  const a = await made();
  await admin.assistants.delete(a.assistant_id);
  await refuses(client.assistants.get(a.assistant_id), 404);
  await refuses(admin.assistants.delete(absent), 404);
});

test("graph: nodes and edges from __start__ to __end__, with xray", async () => {
  for (const xray of [undefined, true, 2]) {
    const g = await client.assistants.getGraph("approval", { xray });
    const ids = g.nodes.map((n) => n.id);
    for (const id of ["__start__", "__end__"]) assert.ok(ids.includes(id), id);
    for (const n of g.nodes) assert.equal(typeof n.type, "string");
    for (const e of g.edges) assert.ok(ids.includes(e.source) && ids.includes(e.target), JSON.stringify(e));
  }
  const chat = await client.assistants.getGraph("chat");
  assert.ok(chat.edges.some((e) => e.conditional), "the way from the model to its tools is conditional");
  await refuses(client.assistants.getGraph(absent), 404);
});

test("schemas: of input, output, state, config and context", async () => {
  const s = await client.assistants.getSchemas("echo");
  assert.equal(s.graph_id, "echo");
  for (const name of ["input_schema", "output_schema", "state_schema"]) assert.ok(s[name].properties.messages, name);
  for (const name of ["config_schema", "context_schema"]) assert.ok(name in s, name);
});

test("subgraphs: an object by namespace", async () => {
  assert.deepEqual(await client.assistants.getSubgraphs("echo"), {});
  assert.deepEqual(await client.assistants.getSubgraphs("echo", { recurse: true }), {});
});

test("a run of an assistant uses its graph", async () => {
  const a = await made();
  const { thread_id } = await client.threads.create();
  assert.deepEqual(texts(await client.runs.wait(thread_id, a.assistant_id, { input: say("x") })), ["x", "echo: x"]);
  assert.equal((await client.threads.get(thread_id)).metadata.assistant_id, a.assistant_id);
});

test("a member may read assistants and not change them; another organisation sees none", async () => {
  const a = await made();
  assert.equal((await client.assistants.get(a.assistant_id)).assistant_id, a.assistant_id);
  await refuses(client.assistants.update(a.assistant_id, { name: "x" }), 403);
  const foreign = await call("GET", `/assistants/${a.assistant_id}`, undefined, { "x-api-key": keys.foreign });
  assert.equal(foreign.status, 404);
});
