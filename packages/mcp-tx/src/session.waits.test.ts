import { countingSignal, type ServedTool, virtualTime } from "@mcp-tx/core/testing";
import { describe, expect, test } from "vitest";
import { type FakeClient, fakeClient, LINES, subject, world } from "./session.fixture.js";
import type { Connect } from "./types.js";

const ok: ServedTool = { run: () => ({ content: [] }) };

/** A connect that settles when the test says so. */
function scripted() {
  const tries: { readonly signal: AbortSignal; give(client: FakeClient): void; fail(error: Error): void }[] = [];
  const connect: Connect = ({ signal }) =>
    new Promise((give, fail) => {
      tries.push({ signal, give, fail });
    });
  return { connect, tries };
}

describe("a connect that hangs", () => {
  test("is bounded, and its late client is closed", async () => {
    const time = virtualTime();
    const { connect, tries } = scripted();
    const { call } = subject(time, { connect, connectTimeoutMs: 1000 });
    const error = await time.run(call("pay").catch((thrown: unknown) => thrown));
    expect(time.now()).toBe(1000);
    expect(error).toMatchObject({ code: "transport_error", outcome: { execution: "not-executed", transient: true } });
    expect(tries[0]?.signal.aborted).toBe(true);
    const late = fakeClient();
    tries[0]?.give(late);
    await time.advance(0);
    expect(late.closes).toBe(1);
    expect(time.timers).toBe(0);
  });

  test("is aborted when the last of those who wait has gone, and not before", async () => {
    const time = virtualTime();
    const { connect, tries } = scripted();
    const { call, session } = subject(time, { connect });
    const [first, second] = [new AbortController(), new AbortController()];
    const calls = [call("a", {}, { signal: first.signal }), call("b", {}, { signal: second.signal })];
    const ends = Promise.allSettled(calls);
    await time.advance(0);
    first.abort(new Error("first has gone"));
    await expect(calls[0]).rejects.toThrow("first has gone");
    expect(tries[0]?.signal.aborted).toBe(false);
    second.abort(new Error("second has gone"));
    await expect(calls[1]).rejects.toThrow("second has gone");
    expect(tries[0]?.signal.aborted).toBe(true);
    await ends;
    const late = fakeClient();
    tries[0]?.give(late);
    await time.advance(0);
    expect(late.closes).toBe(1);
    expect(session.state).toBe("idle");
    expect(time.timers).toBe(0);
  });

  test("keeps the next try waiting as long as it may, so that there are never two", async () => {
    const time = virtualTime();
    const { connect, tries } = scripted();
    const { call } = subject(time, { connect, connectTimeoutMs: 1000 });
    await time.run(call("a", {}, { timeoutMs: 10 }).catch(() => undefined));
    const second = call("b", {}, { timeoutMs: 5000 });
    await time.advance(100);
    expect(tries).toHaveLength(1);
    await time.advance(890);
    expect(tries).toHaveLength(2);
    tries[1]?.give(fakeClient());
    await time.run(second);
    tries[0]?.fail(new Error("late"));
    await time.advance(0);
    expect(time.timers).toBe(0);
  });

  test("a caller's deadline ends that caller's wait alone", async () => {
    const time = virtualTime();
    const { connect, tries } = scripted();
    const { call, reports } = subject(time, { connect });
    const patient = call("a");
    const hurried = call("b", {}, { timeoutMs: 50 });
    await expect(time.run(hurried)).rejects.toMatchObject({ code: "deadline" });
    expect(reports[0]).toMatchObject({ status: "timeout", execution: "not-executed", waitedMs: 50 });
    tries[0]?.give(fakeClient());
    await time.run(patient);
    expect(tries).toHaveLength(1);
  });
});

test("a call that comes during the backoff waits for the next try within its deadline", async () => {
  const time = virtualTime();
  let tries = 0;
  const connect = () => {
    tries += 1;
    if (tries === 1) throw new Error("down");
    return fakeClient();
  };
  const { call, session, reports } = subject(time, { connect });
  await time.run(call("a").catch(() => undefined));
  const calling = call("b", {}, { timeoutMs: 1000 });
  await time.advance(100);
  expect(session.state).toBe("waiting");
  await time.run(calling);
  expect(reports.at(-1)).toMatchObject({ waitedMs: 200 });
});

test("a backoff that nobody waits for any more leaves no timer, and is not begun anew", async () => {
  const time = virtualTime();
  const at: number[] = [];
  const connect = () => {
    at.push(time.now());
    throw new Error("down");
  };
  const { call } = subject(time, { connect });
  await time.run(call("a").catch(() => undefined));
  const controller = new AbortController();
  const gone = call("b", {}, { signal: controller.signal });
  await time.advance(50);
  controller.abort(new Error("gone"));
  await expect(gone).rejects.toThrow("gone");
  expect(time.timers).toBe(0);
  await time.run(call("c").catch(() => undefined));
  expect(at).toEqual([0, 200]);
});

describe("close", () => {
  test("refuses those who wait for a connection, and the client that comes late", async () => {
    const time = virtualTime();
    const { connect, tries } = scripted();
    const { call, session } = subject(time, { connect });
    const calling = call("pay");
    const end = expect(calling).rejects.toMatchObject({ outcome: { status: "rejected", execution: "not-executed" } });
    await time.advance(0);
    await time.run(session.close());
    await end;
    expect(tries[0]?.signal.aborted).toBe(true);
    const late = fakeClient();
    tries[0]?.give(late);
    await time.advance(0);
    expect(late.closes).toBe(1);
    expect(session.state).toBe("closed");
    expect(time.timers).toBe(0);
    await expect(call("pay")).rejects.toThrow("It cannot be called any more");
    await expect(session.tools()).rejects.toThrow("closed");
    expect(tries).toHaveLength(1);
  });

  test("lets calls under way end, but no longer than graceMs", async () => {
    const time = virtualTime();
    const quick: ServedTool = { run: async () => time.runtime.sleep(100).then(() => ({ content: [] })) };
    const stuck: ServedTool = { run: () => new Promise(() => undefined) };
    const there = world({ quick, stuck }, LINES[0].client);
    const { call, session } = subject(time, { connect: there.connect });
    const calls = [call("quick"), call("stuck")];
    const ends = Promise.allSettled(calls);
    await time.advance(0);
    const closing = session.close({ graceMs: 1000 });
    const again = session.close();
    await time.run(closing);
    await again;
    expect(time.now()).toBe(1000);
    expect((await ends).map(({ status }) => status)).toEqual(["fulfilled", "rejected"]);
    expect(there.open).toBe(0);
  });

  test("tells what the client throws, and refuses a bad graceMs", async () => {
    const time = virtualTime();
    const client = { ...fakeClient(), close: () => Promise.reject(new Error("stuck")) };
    const { call, session } = subject(time, { connect: () => client });
    await call("pay");
    await expect(session.close({ graceMs: -1 })).rejects.toThrow("close: graceMs");
    await expect(session.close()).rejects.toThrow("stuck");
  });

  test("before anything was called closes nothing", async () => {
    const { session, events } = subject(virtualTime(), { connect: fakeClient });
    await session[Symbol.asyncDispose]();
    expect(events).toEqual([{ type: "closed", name: undefined }]);
  });
});

test("a client whose session expired is closed when the calls through it have ended, not before", async () => {
  const time = virtualTime();
  let answer: (() => void) | undefined;
  const expired = {
    ...fakeClient(),
    transport: { send: async () => undefined, sessionId: "gone" },
    callTool: () =>
      new Promise((resolve) => {
        answer = () => resolve({ content: [] });
      }),
    request: () => Promise.reject(Object.assign(new Error("Session not found"), { code: 404 })),
  };
  const fresh = { ...fakeClient(), request: async () => ({ tools: [{ name: "pay" }] }) };
  const clients: FakeClient[] = [expired, fresh];
  const { call, session } = subject(time, { connect: () => clients.shift() ?? fakeClient() });
  const slow = call("slow");
  await time.advance(0);
  expect(await time.run(session.tools())).toEqual([{ name: "pay" }]);
  expect(expired.closes).toBe(0);
  answer?.();
  await time.run(slow);
  await time.advance(0);
  expect(expired.closes).toBe(1);
  await session.close();
  expect([expired.closes, fresh.closes]).toEqual([1, 1]);
});

test("10 000 reconnections leave no client, timer or listener behind", async () => {
  const time = virtualTime();
  const counting = countingSignal();
  let present = fakeClient();
  let given = 0;
  const connect = () => {
    given += 1;
    present = fakeClient();
    return present;
  };
  const { call, session, events } = subject(time, { connect, reconnect: { baseDelayMs: 0 } });
  for (let round = 0; round < 10_000; round += 1) {
    await Promise.all([call("a", {}, { signal: counting.signal }), call("b", {}, { signal: counting.signal })]);
    present.transport.onclose?.();
  }
  expect(given).toBe(10_000);
  expect(events.filter(({ type }) => type === "lost")).toHaveLength(10_000);
  expect(counting.listeners).toBe(0);
  expect(time.timers).toBe(0);
  await session.close();
  expect(events.at(-1)?.type).toBe("closed");
});

test("an observer that throws changes nothing", async () => {
  const time = virtualTime();
  const { call } = subject(time, {
    connect: fakeClient,
    onEvent: () => {
      throw new Error("observer");
    },
  });
  await expect(time.run(call("pay"))).resolves.toEqual({ content: [] });
});

test("a call that waited for a new connection tells its listeners", async () => {
  const time = virtualTime();
  const there = world({ pay: ok }, LINES[1].client);
  const seen: unknown[] = [];
  const { call, session } = subject(time, { connect: there.connect }, [], {
    onEvent: (name, detail) => {
      if (name === "session.reconnect") seen.push(detail);
    },
  });
  await time.run(call("pay"));
  there.cut();
  await time.run(call("pay"));
  expect(seen).toEqual([{ tool: "pay", attempt: 1, session: 2, waitedMs: 0 }]);
  await session.close();
});
