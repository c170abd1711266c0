import {
  type CallOptions,
  type Middleware,
  type PinnedRecord,
  pipeline,
  reportOf,
  run,
  type ToolResult,
  type WrapOptions,
} from "@mcp-tx/core";
import type { IdempotencyRecord, IdempotencyStore } from "@mcp-tx/core/stores";
import { type ScriptedTool, scriptedTool, virtualTime } from "@mcp-tx/core/testing";
import { describe, expect, test } from "vitest";
import { fingerprintOf } from "./fingerprint.js";
import { idempotency } from "./idempotency.js";
import { memoryStore } from "./memory-store.js";
import type { IdempotencyOptions } from "./options.js";

const TTL_MS = 1000;
const LEASE_MS = 60_000;
const AGES_MS = 1e12;
const DONE: ToolResult = { structuredContent: { paid: true } };
const FAILED: ToolResult = { content: [], isError: true };
const KEY = JSON.stringify([1, "local", "", null, "pay", "k"]);

const rejection = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    (value) => Promise.reject(new Error(`resolved with ${JSON.stringify(value)}`)),
    (error: unknown) => error,
  );

interface Request {
  readonly key?: string | undefined;
  readonly options?: CallOptions;
  readonly wrap?: WrapOptions;
}

type Methods = Partial<IdempotencyStore>;

/** A store that outlives the processes of a test; `others` are put in the place of its methods. */
function setUp(others: (store: IdempotencyStore, sleep: (ms: number) => Promise<void>) => Methods = () => ({})) {
  const time = virtualTime();
  const memory = memoryStore({ runtime: time.runtime });
  const store: IdempotencyStore = {
    storeId: memory.storeId,
    durable: true,
    claim: (key, claim) => memory.claim(key, claim),
    extend: (key, token, leaseMs) => memory.extend(key, token, leaseMs),
    settle: (key, token, settlement) => memory.settle(key, token, settlement),
    release: (key, token) => memory.release(key, token),
    get: (key) => memory.get(key),
    expire: (key, token, ttlMs) => memory.expire(key, token, ttlMs),
    sweep: (limit) => memory.sweep(limit),
    ...others(memory, (ms) => time.runtime.sleep(ms)),
  };
  /** A process. */
  function start(options: IdempotencyOptions = {}, inner: readonly Middleware[] = []) {
    const middleware = idempotency({ store, ttlMs: TTL_MS, leaseMs: LEASE_MS, ...options });
    const pins: PinnedRecord[] = [];
    const call = (tool: ScriptedTool, { key = "k", options: extra, wrap }: Request = {}): Promise<ToolResult> => {
      const request = { tool: "pay", args: { amount: 1 }, options: { idempotencyKey: key, ...extra } };
      return run(pipeline([middleware, ...inner], tool), request, { runtime: time.runtime, ...wrap });
    };
    return {
      middleware,
      pins,
      call,
      pinned: (tool: ScriptedTool, { options: extra, ...request }: Request = {}) =>
        call(tool, { ...request, options: { pinned: (record) => pins.push(record), ...extra } }),
    };
  }
  /** An owner that dies while it runs the tool. */
  async function abandon(): Promise<IdempotencyRecord> {
    const fingerprint = fingerprintOf({ amount: 1 });
    const { record } = await memory.claim(KEY, { fingerprint, token: "dead", leaseMs: 1, epoch: 0, sentAtWall: 0 });
    await time.advance(1);
    return record;
  }
  const record = () => memory.get(KEY);
  /** What a caller is told of the record that stands. */
  const standing = async (): Promise<PinnedRecord> => {
    const { key = "", token = "" } = (await record()) ?? {};
    return { storeId: memory.storeId, key, token };
  };
  return { time, memory, store, start, record, standing, abandon };
}

const tool = (result: ToolResult = DONE, delayMs = 10): ScriptedTool =>
  scriptedTool([{ result, delayMs }], { repeatLast: true });

describe("a pinned call", () => {
  test.each([
    ["done", DONE],
    ["failed", FAILED],
  ])("leaves a record that outlives any time, %s, and is told of it before it ends", async (state, result) => {
    const { time, start, record, standing } = setUp();
    const process = start();
    const act = tool(result);
    const call = process.pinned(act).then(() => process.pins.length);
    expect(await time.run(call)).toBe(1);
    expect(await record()).toMatchObject({ state, expiresAt: Infinity });
    expect(process.pins).toEqual([await standing()]);
    await time.advance(AGES_MS);
    expect(await time.run(process.call(act))).toEqual(result);
    expect(act.executions).toBe(1);
  });

  test("leaves one also when the tool threw, with no more than a claim and a settlement", async () => {
    const asked: string[] = [];
    const { time, start, record } = setUp((memory) => ({
      claim: (key, claim) => {
        asked.push("claim");
        return memory.claim(key, claim);
      },
      settle: (key, token, settlement) => {
        asked.push("settle");
        return memory.settle(key, token, settlement);
      },
      expire: () => {
        asked.push("expire");
        return Promise.resolve(true);
      },
    }));
    const process = start();
    await time.run(rejection(process.pinned(scriptedTool([{ error: new Error("no funds") }]))));
    expect(await record()).toMatchObject({ state: "failed", expiresAt: Infinity });
    expect(process.pins).toHaveLength(1);
    expect(asked).toEqual(["claim", "settle"]);
  });

  test("is told of nothing when nothing is kept of it", async () => {
    const { time, start, record } = setUp();
    const asking = { resultType: "input_required", inputRequests: {} } as unknown as ToolResult;
    const process = start();
    await time.run(process.pinned(tool(asking)));
    expect(await record()).toBeUndefined();
    await time.run(rejection(process.pinned(scriptedTool([{ hang: true }]), { options: { attemptTimeoutMs: 5 } })));
    expect(await record()).toMatchObject({ state: "unknown" });
    expect(process.pins).toEqual([]);
  });

  test("is told of nothing when its outcome could not be recorded, and ends all the same", async () => {
    const { time, start } = setUp(() => ({ settle: () => Promise.reject(new Error("down")) }));
    const process = start();
    const result = await time.run(process.pinned(tool()));
    expect(reportOf(result)).toMatchObject({ recorded: false, status: "completed" });
    expect(process.pins).toEqual([]);
  });

  test.each<[string, () => unknown]>([
    [
      "throws",
      () => {
        throw new Error("journal is full");
      },
    ],
    ["gives a promise that rejects", () => Promise.reject(new Error("later"))],
  ])("ends as it would when what is told of the record %s", async (_, pinned) => {
    const { time, start, record } = setUp();
    const result = await time.run(start().call(tool(), { options: { pinned: pinned as () => void } }));
    expect(reportOf(result)).toMatchObject({ status: "completed", recorded: true });
    expect(await record()).toMatchObject({ state: "done", expiresAt: Infinity });
  });

  test("without a key passes, and nothing is kept", async () => {
    const time = virtualTime();
    const act = tool();
    const pinned = () => expect.unreachable();
    const handler = pipeline(idempotency(), act);
    await time.run(run(handler, { tool: "pay", options: { pinned } }, { runtime: time.runtime }));
    expect(act.executions).toBe(1);
  });

  test("pins nothing for calls that are not", async () => {
    const { time, start, record } = setUp();
    await time.run(start().call(tool()));
    expect((await record())?.expiresAt).toBe(time.runtime.wallNow() + TTL_MS);
  });
});

describe("a pinned call that is answered from a record", () => {
  test.each([
    ["done", DONE],
    ["failed", FAILED],
  ])("pins it, %s, however soon it would have expired", async (_, result) => {
    const { time, start, record, standing } = setUp();
    const act = tool(result);
    await time.run(start().call(act));
    await time.advance(TTL_MS - 1);
    const process = start();
    expect(reportOf(await time.run(process.pinned(act)))).toMatchObject({ duplicate: true });
    expect(process.pins).toEqual([await standing()]);
    await time.advance(AGES_MS);
    expect(await record()).toMatchObject({ expiresAt: Infinity });
    expect(act.executions).toBe(1);
  });

  test("is told of a record again that is pinned already", async () => {
    const { time, start } = setUp();
    const [first, second] = [start(), start()];
    await time.run(first.pinned(tool()));
    await time.run(second.pinned(tool()));
    expect(second.pins).toEqual(first.pins);
  });

  test.each<[string, Methods["expire"]]>([
    ["rejects", () => Promise.reject(new Error("down"))],
    [
      "throws",
      () => {
        throw new Error("no connection");
      },
    ],
    ["finds no such record", () => Promise.resolve(false)],
    ["hangs", () => new Promise(() => undefined)],
  ])("gets its answer, and is told of nothing, when the store %s", async (_, expire) => {
    const { time, start } = setUp(() => (expire === undefined ? {} : { expire }));
    await time.run(start().call(tool()));
    const process = start();
    const before = time.now();
    const result = await time.run(process.pinned(tool()));
    expect(result).toEqual(DONE);
    expect(reportOf(result)).toMatchObject({ status: "completed", duplicate: true, recorded: true });
    expect(process.pins).toEqual([]);
    expect(time.now() - before).toBeLessThanOrEqual(LEASE_MS);
  });

  test("pins it when the store fails once", async () => {
    let failures = 1;
    const { time, start, record } = setUp((memory) => ({
      expire: (key, token, ttlMs) => {
        failures -= 1;
        return failures < 0 ? memory.expire(key, token, ttlMs) : Promise.reject(new Error("connection reset"));
      },
    }));
    await time.run(start().call(tool()));
    const process = start();
    await time.run(process.pinned(tool()));
    expect(process.pins).toHaveLength(1);
    expect(await record()).toMatchObject({ expiresAt: Infinity });
  });

  test("leaves at its deadline with the answer while the record is being pinned, and is told later", async () => {
    const { time, start, standing } = setUp((memory, sleep) => ({
      expire: (key, token, ttlMs) => sleep(500).then(() => memory.expire(key, token, ttlMs)),
    }));
    await time.run(start().call(tool()));
    const process = start();
    const before = time.now();
    expect(await time.run(process.pinned(tool(), { options: { timeoutMs: 100 } }))).toEqual(DONE);
    expect(time.now() - before).toBe(100);
    expect(process.pins).toEqual([]);
    await time.advance(500);
    expect(process.pins).toEqual([await standing()]);
  });

  test("pins what verify found", async () => {
    const { time, start, record, standing, abandon } = setUp();
    await abandon();
    const process = start();
    const act = tool();
    const verify = () => ({ execution: "executed", result: DONE }) as const;
    expect(await time.run(process.pinned(act, { wrap: { verify } }))).toEqual(DONE);
    expect(act.executions).toBe(0);
    expect(await record()).toMatchObject({ state: "done", expiresAt: Infinity });
    expect(process.pins).toEqual([await standing()]);
  });

  test("pins what verify found when its owner settled it meanwhile", async () => {
    const { time, start, memory, record, abandon } = setUp();
    const { token } = await abandon();
    const process = start();
    const verify = async () => {
      await memory.settle(KEY, token, { state: "done", outcome: '{"v":1,"result":{}}', ttlMs: TTL_MS });
      return { execution: "executed", result: DONE } as const;
    };
    await time.run(process.pinned(tool(), { wrap: { verify } }));
    expect(await record()).toMatchObject({ token, expiresAt: Infinity });
    expect(process.pins).toHaveLength(1);
  });

  test("pins the record of a call that ran longer than its lease, settled by somebody else meanwhile", async () => {
    const { time, memory, start, record } = setUp(() => ({ extend: () => Promise.reject(new Error("down")) }));
    const process = start();
    const call = process.pinned(tool(DONE, LEASE_MS + 10));
    await time.advance(LEASE_MS + 5);
    const { token = "" } = (await record()) ?? {};
    await memory.settle(KEY, token, { state: "done", outcome: '{"v":1,"result":{}}', ttlMs: TTL_MS });
    await time.run(call);
    expect(await record()).toMatchObject({ token, expiresAt: Infinity });
    expect(process.pins).toHaveLength(1);
  });
});

describe("a pinned call that joins a run", () => {
  test("pins the record for all, and each one that wanted it is told", async () => {
    const { time, start, record, standing } = setUp();
    const process = start();
    const act = tool();
    await time.run(Promise.all([process.call(act), process.pinned(act), process.call(act), process.pinned(act)]));
    expect(await record()).toMatchObject({ expiresAt: Infinity });
    const told = await standing();
    expect(process.pins).toEqual([told, told]);
    expect(act.executions).toBe(1);
  });

  test("while the outcome is being recorded pins the record all the same", async () => {
    const { time, start, record, standing } = setUp((memory, sleep) => ({
      settle: (key, token, settlement) => sleep(100).then(() => memory.settle(key, token, settlement)),
    }));
    const process = start();
    const act = tool(DONE, 10);
    const first = process.call(act);
    await time.advance(50);
    await time.run(Promise.all([first, process.pinned(act)]));
    expect(await record()).toMatchObject({ expiresAt: Infinity });
    expect(process.pins).toEqual([await standing()]);
  });

  test("while the record is being pinned for another is told as well", async () => {
    const { time, start, standing } = setUp((memory, sleep) => ({
      expire: (key, token, ttlMs) => sleep(100).then(() => memory.expire(key, token, ttlMs)),
    }));
    const act = tool();
    await time.run(start().call(act));
    const process = start();
    const first = process.pinned(act);
    await time.advance(50);
    await time.run(Promise.all([first, process.pinned(act)]));
    const told = await standing();
    expect(process.pins).toEqual([told, told]);
  });

  test("while others are being told is told as well", async () => {
    const { time, start, standing } = setUp();
    const process = start();
    const act = tool();
    let joined: Promise<ToolResult> | undefined;
    const pinned = (): void => {
      joined = process.pinned(act);
    };
    await time.run(process.call(act, { options: { pinned } }));
    expect(await joined).toEqual(DONE);
    expect(process.pins).toEqual([await standing()]);
    expect(act.executions).toBe(1);
  });

  test("and leaves before the end finds the record pinned when it comes back", async () => {
    const { time, start, record, standing } = setUp();
    const process = start();
    const act = tool(DONE, 100);
    const first = process.call(act);
    const left = rejection(process.pinned(act, { options: { timeoutMs: 50 } }));
    await time.run(left);
    await time.run(first);
    await time.advance(AGES_MS);
    expect(await record()).toMatchObject({ expiresAt: Infinity });
    await time.run(process.pinned(act));
    const told = await standing();
    expect(process.pins).toEqual([told, told]);
    expect(act.executions).toBe(1);
  });

  test("in another process pins the record once it is there", async () => {
    const { time, start, record, standing } = setUp();
    const [first, second] = [start(), start()];
    const act = tool(DONE, 100);
    await time.run(Promise.all([first.call(act), second.pinned(act)]));
    expect(await record()).toMatchObject({ expiresAt: Infinity });
    expect(second.pins).toEqual([await standing()]);
    expect(act.executions).toBe(1);
  });
});

describe("a middleware that can lose records", () => {
  const pinned = () => undefined;

  test.each<[string, IdempotencyOptions, RegExp]>([
    ["without a store", {}, /^idempotency: store must be durable for tool "pay", because its caller .*; give one/],
    ["whose store is in memory", { store: memoryStore() }, /^idempotency: store must be durable for tool "pay"/],
    [
      "that goes on without a record",
      { store: setUp().store, storeErrors: "bypass" },
      /^idempotency: storeErrors must be "fail" for tool "pay", because its caller/,
    ],
  ])("refuses a pinned call, %s", async (_, options, message) => {
    const act = tool();
    const time = virtualTime();
    const handler = pipeline(idempotency(options), act);
    const call = (given: CallOptions) =>
      run(handler, { tool: "pay", options: { idempotencyKey: "k", ...given } }, { runtime: time.runtime });
    const error = await rejection(call({ pinned }));
    expect(error).toBeInstanceOf(TypeError);
    expect((error as Error).message).toMatch(message);
    expect(reportOf(error)).toMatchObject({ execution: "not-executed", attempts: 0 });
    expect(act.executions).toBe(0);
    await time.run(call({}));
    expect(act.executions).toBe(1);
  });
});

describe("records", () => {
  test("says whether they survive the process and whether calls go on without", () => {
    const { store } = setUp();
    const of = (options?: IdempotencyOptions) => idempotency(options).records;
    expect(of()).toMatchObject({ durable: false, bypasses: false });
    expect(of({ store: memoryStore() })).toMatchObject({ durable: false, bypasses: false });
    expect(of({ store })).toMatchObject({ durable: true, bypasses: false });
    expect(of({ store, storeErrors: "bypass" })).toMatchObject({ durable: true, bypasses: true });
  });

  test("lets a pinned record go after the usual time, from then on", async () => {
    const { time, start, record } = setUp();
    const { middleware, pins, pinned } = start();
    await time.run(pinned(tool()));
    await time.advance(AGES_MS);
    const [pin] = pins;
    if (pin === undefined) return expect.unreachable();
    // As a journal gives it back.
    expect(await middleware.records?.letGo(JSON.parse(JSON.stringify(pin)))).toBe(true);
    await time.advance(TTL_MS - 1);
    expect(await record()).toMatchObject({ state: "done" });
    await time.advance(1);
    expect(await record()).toBeUndefined();
    expect(await middleware.records?.letGo(pin)).toBe(false);
  });

  test("keeps for good what is let go with an infinite ttlMs", async () => {
    const { time, start, record } = setUp();
    const { middleware, pins, pinned } = start({ ttlMs: Infinity });
    await time.run(pinned(tool()));
    const [pin] = pins;
    if (pin === undefined) return expect.unreachable();
    expect(await middleware.records?.letGo(pin)).toBe(true);
    await time.advance(AGES_MS);
    expect(await record()).toMatchObject({ state: "done" });
  });

  test("says no to a record of another store, of another owner, or that is not settled", async () => {
    const { time, start, record, abandon, store } = setUp();
    const { middleware, pins, pinned } = start();
    await time.run(pinned(tool(), { key: "other" }));
    const [pin] = pins;
    if (pin === undefined) return expect.unreachable();
    const letGo = (changed: Partial<PinnedRecord>, of = middleware) => of.records?.letGo({ ...pin, ...changed });
    expect(await letGo({ storeId: "another" })).toBe(false);
    expect(await letGo({ token: "another" })).toBe(false);
    expect(await letGo({}, idempotency())).toBe(false);
    expect((await store.get(pin.key))?.expiresAt).toBe(Infinity);
    const { key, token } = await abandon();
    expect(await letGo({ key, token })).toBe(false);
    expect(await record()).toMatchObject({ state: "unknown" });
  });

  test("rejects when the store fails or does not know itself yet", async () => {
    const down = setUp(() => ({
      expire: () => {
        throw new Error("no connection");
      },
    }));
    const pin = { storeId: down.store.storeId, key: KEY, token: "t" };
    await expect(down.start().middleware.records?.letGo(pin)).rejects.toThrow("no connection");
    const early = Object.defineProperty({ ...down.store }, "storeId", {
      get: () => {
        throw new Error("await ready() first");
      },
    });
    await expect(idempotency({ store: early }).records?.letGo(pin)).rejects.toThrow("await ready() first");
  });
});
