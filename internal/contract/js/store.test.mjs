// Contract 3, store.
import assert from "node:assert/strict";
import { call, client, clientOf, isTime, keys, refuses, test, uuid } from "./session.mjs";

test("PUT, GET: an Item with every field; PUT again replaces", async () => {
  const ns = ["notes", uuid()];
  await client.store.putItem(ns, "a", { text: "one", n: 1 });
  const item = await client.store.getItem(ns, "a");
  assert.deepEqual(item.namespace, ns);
  assert.equal(item.key, "a");
  assert.deepEqual(item.value, { text: "one", n: 1 });
  isTime(item.createdAt);
  isTime(item.updatedAt);
  await client.store.putItem(ns, "a", { text: "two" });
  const again = await client.store.getItem(ns, "a");
  assert.deepEqual(again.value, { text: "two" });
  assert.equal(again.createdAt, item.createdAt);
  const put = await call("PUT", "/store/items", { namespace: ns, key: "b", value: {}, index: null, ttl: null });
  assert.equal(put.status, 204);
});

test("an item that is missing: null or 404", async () => {
  const missing = await call("GET", `/store/items?namespace=none.${uuid()}&key=a`);
  assert.ok(missing.status === 404 || (missing.status === 200 && missing.json === null), missing.text);
});

test("DELETE: 204, also if missing", async () => {
  const ns = ["notes", uuid()];
  await client.store.putItem(ns, "a", { n: 1 });
  await client.store.deleteItem(ns, "a");
  const after = await call("GET", `/store/items?namespace=${ns.join(".")}&key=a`);
  assert.ok(after.status === 404 || after.json === null);
  assert.equal((await call("DELETE", "/store/items", { namespace: ns, key: "a" })).status, 204);
});

test("labels: not empty and without a dot, else 422 that names the field", async () => {
  for (const namespace of [[""], ["a.b"], ["ok", ""]]) {
    const answer = await call("PUT", "/store/items", { namespace, key: "a", value: {} });
    assert.equal(answer.status, 422, JSON.stringify(namespace));
    assert.match(answer.json.detail, /namespace/);
  }
  assert.equal((await call("PUT", "/store/items", { namespace: ["a"], value: {} })).status, 422, "no key");
  assert.equal((await call("PUT", "/store/items", { namespace: ["a"], key: "a", value: 7 })).status, 422, "the value is an object");
});

test("search: prefix, filter by equality and operators, limit and offset", async () => {
  const root = uuid();
  for (const [sub, n] of [["x", 1], ["x", 2], ["y", 3]]) await client.store.putItem([root, sub], "k" + n, { n, kind: sub, deep: { n } });
  const keysOf = async (prefix, options) => (await client.store.searchItems(prefix, options)).items.map((i) => i.key).sort();
  assert.deepEqual(await keysOf([root]), ["k1", "k2", "k3"]);
  assert.deepEqual(await keysOf([root, "x"]), ["k1", "k2"]);
  assert.deepEqual(await keysOf([root], { filter: { kind: "y" } }), ["k3"]);
  assert.deepEqual(await keysOf([root], { filter: { n: { $gte: 2 } } }), ["k2", "k3"]);
  assert.deepEqual(await keysOf([root], { filter: { n: { $gt: 1, $lt: 3 } } }), ["k2"]);
  assert.deepEqual(await keysOf([root], { filter: { n: { $lte: 1 } } }), ["k1"]);
  assert.deepEqual(await keysOf([root], { filter: { n: { $eq: 3 } } }), ["k3"]);
  assert.deepEqual(await keysOf([root], { filter: { n: { $ne: 3 } } }), ["k1", "k2"]);
  const first = await client.store.searchItems([root], { limit: 2 });
  const second = await client.store.searchItems([root], { limit: 2, offset: 2 });
  assert.equal(first.items.length, 2);
  assert.equal(second.items.length, 1);
  assert.equal((await call("POST", "/store/items/search", { namespace_prefix: [root], filter: { n: { $what: 1 } } })).status, 422);
});

test("search by query gives scores, or at least the items", async () => {
  const root = uuid();
  await client.store.putItem([root], "tea", { text: "likes green tea" });
  await client.store.putItem([root], "car", { text: "drives a red car" });
  const { items } = await client.store.searchItems([root], { query: "tea", limit: 1 });
  assert.equal(items[0].key, "tea");
});

test("namespaces: by prefix, suffix and depth", async () => {
  const root = uuid();
  for (const ns of [[root, "a", "one"], [root, "a", "two"], [root, "b", "one"]]) await client.store.putItem(ns, "k", {});
  const of = async (options) => (await client.store.listNamespaces(options)).namespaces.map((n) => n.slice(1).join(".")).sort();
  assert.deepEqual(await of({ prefix: [root] }), ["a.one", "a.two", "b.one"]);
  assert.deepEqual(await of({ prefix: [root, "a"] }), ["a.one", "a.two"]);
  assert.deepEqual(await of({ prefix: [root], suffix: ["one"] }), ["a.one", "b.one"]);
  assert.deepEqual(await of({ prefix: [root], maxDepth: 2 }), ["a", "b"]);
  assert.equal((await of({ prefix: [root], limit: 1 })).length, 1);
});

test("ttl: an item whose time is over is gone", async () => {
  const ns = ["short", uuid()];
  const put = await call("PUT", "/store/items", { namespace: ns, key: "a", value: {}, ttl: 60 });
  assert.equal(put.status, 204, put.text);
  assert.equal((await client.store.getItem(ns, "a", { refreshTtl: true })).key, "a");
  assert.equal((await call("PUT", "/store/items", { namespace: ns, key: "a", value: {}, ttl: -1 })).status, 422);
});

test("another organisation's items are not there, and a key that reads can't write", async () => {
  const ns = ["notes", uuid()];
  await client.store.putItem(ns, "a", { secret: true });
  const foreign = await call("GET", `/store/items?namespace=${ns.join(".")}&key=a`, undefined, { "x-api-key": keys.foreign });
  assert.ok(foreign.status === 404 || foreign.json === null, foreign.text);
  assert.deepEqual((await clientOf(keys.foreign).store.searchItems(["notes"])).items.filter((i) => i.namespace[1] === ns[1]), []);
  await refuses(clientOf(keys.read).store.putItem(ns, "a", {}), 403);
  assert.equal((await clientOf(keys.read).store.getItem(ns, "a")).key, "a");
});
