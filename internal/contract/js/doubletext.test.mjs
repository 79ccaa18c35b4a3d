// Contract 3, double texting: four strategies, by wait, stream and background.
// The first run is slow (two seconds), the second comes while it works.
import assert from "node:assert/strict";
import { begun, client, ended, gather, refuses, say, test, texts } from "./session.mjs";

const busy = async () => {
  const { thread_id } = await client.threads.create();
  await client.runs.wait(thread_id, "echo", { input: say("before") });
  const first = await client.runs.create(thread_id, "slow", { input: say("first") });
  await begun(thread_id, first.run_id);
  return { thread: thread_id, first: first.run_id };
};

// Each way starts echo with "second" and gives its id once it is over.
const ways = {
  wait: async (thread, multitaskStrategy) => {
    let at;
    await client.runs.wait(thread, "echo", { input: say("second"), multitaskStrategy, onRunCreated: (m) => { at = m; } });
    return at.run_id;
  },
  stream: async (thread, multitaskStrategy) => {
    let at;
    const parts = await gather(client.runs.stream(thread, "echo", { input: say("second"), multitaskStrategy, streamMode: ["values"], onRunCreated: (m) => { at = m; } }));
    assert.ok(!parts.some((p) => p.event === "error"), JSON.stringify(parts));
    return at.run_id;
  },
  background: async (thread, multitaskStrategy) => {
    const run = await client.runs.create(thread, "echo", { input: say("second"), multitaskStrategy });
    await ended(thread, run.run_id);
    return run.run_id;
  },
};

for (const [way, start] of Object.entries(ways)) {
  test(`enqueue by ${way}: in the order of creation`, async () => {
    const { thread, first } = await busy();
    const second = await start(thread, "enqueue");
    assert.equal((await client.runs.get(thread, first)).status, "success");
    assert.equal((await client.runs.get(thread, second)).status, "success");
    const said = texts((await client.threads.getState(thread)).values);
    assert.equal(said.length, 6);
    assert.deepEqual(said.slice(-2), ["second", "echo: second"]);
    assert.equal(said[2], "first");
  });

  test(`enqueue is the default by ${way}`, async () => {
    const { thread, first } = await busy();
    await start(thread, undefined);
    assert.equal((await client.runs.get(thread, first)).status, "success");
  });

  test(`reject by ${way}: 409, the first goes on`, async () => {
    const { thread, first } = await busy();
    await refuses(start(thread, "reject"), 409);
    assert.equal((await ended(thread, first)).status, "success");
    assert.equal(texts((await client.threads.getState(thread)).values).includes("second"), false);
  });

  test(`interrupt by ${way}: the first is interrupted, its input stays`, async () => {
    const { thread, first } = await busy();
    const second = await start(thread, "interrupt");
    assert.equal((await client.runs.get(thread, first)).status, "interrupted");
    assert.equal((await client.runs.get(thread, second)).status, "success");
    const said = texts((await client.threads.getState(thread)).values);
    assert.ok(said.includes("first"), JSON.stringify(said));
    assert.deepEqual(said.slice(-2), ["second", "echo: second"]);
  });

  test(`rollback by ${way}: the first and its steps are gone`, async () => {
    const { thread, first } = await busy();
    await start(thread, "rollback");
    await refuses(client.runs.get(thread, first), 404);
    assert.deepEqual(texts((await client.threads.getState(thread)).values), ["before", "echo: before", "second", "echo: second"]);
  });
}

test("what waits its turn is pending, and can be cancelled", async () => {
  const { thread } = await busy();
  const second = await client.runs.create(thread, "echo", { input: say("second") });
  assert.equal((await client.runs.get(thread, second.run_id)).status, "pending");
  await client.runs.cancel(thread, second.run_id, true);
  assert.equal((await client.runs.get(thread, second.run_id)).status, "interrupted");
});

test("an unknown strategy is 422", async () => {
  const { thread_id } = await client.threads.create();
  await refuses(client.runs.create(thread_id, "echo", { input: say("x"), multitaskStrategy: "shout" }), 422);
});
