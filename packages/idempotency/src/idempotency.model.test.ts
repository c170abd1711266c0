import {
  McpTxError,
  type Middleware,
  pipeline,
  type Runtime,
  reportOf,
  run,
  type Side,
  type ToolResult,
  type Verify,
} from "@mcp-tx/core";
import type { IdempotencyClaim, IdempotencyRecord, IdempotencySettlement, IdempotencyStore } from "@mcp-tx/core/stores";
import { virtualTime } from "@mcp-tx/core/testing";
import fc from "fast-check";
import { expect, test } from "vitest";
import { idempotency } from "./idempotency.js";
import { memoryStore } from "./memory-store.js";

const LEASE_MS = 60_000;

/** One run of the tool, in a world that outlives the processes that ask for it. */
interface Run {
  readonly id: number;
  readonly key: string;
  readonly amount: number;
  readonly token: string;
  state: "running" | "succeeded" | "failed";
  end(how: "succeeds" | "reports a failure" | "throws"): void;
}

type State = IdempotencyRecord["state"] | "absent";
const stateOf = (record: IdempotencyRecord | undefined): State => record?.state ?? "absent";

type Event =
  | { readonly method: "claim"; readonly claim: IdempotencyClaim }
  | { readonly method: "settle"; readonly token: string; readonly settlement: IdempotencySettlement }
  | { readonly method: "extend" | "release"; readonly token: string };

/** The transition table of the semantics, written down once more: which events may change what. */
function isLegal(before: IdempotencyRecord | undefined, after: IdempotencyRecord | undefined, event: Event): boolean {
  const [from, to] = [stateOf(before), stateOf(after)];
  if (from === to && before?.token === after?.token) return true;
  if (event.method === "claim") return mayBeClaimed(before, after, event.claim);
  // An owner, late or not, as long as nobody took over.
  const isOwn = (from === "pending" || from === "unknown") && before?.token === event.token;
  if (event.method === "settle") return isOwn && to === event.settlement.state;
  return event.method === "release" && isOwn && to === "absent";
}

function mayBeClaimed(
  before: IdempotencyRecord | undefined,
  after: IdempotencyRecord | undefined,
  { token, takeover, fingerprint, epoch }: IdempotencyClaim,
): boolean {
  if (after?.state !== "pending" || after.token !== token || after.fingerprint !== fingerprint) return false;
  if (before === undefined) return true;
  if (before.fingerprint !== fingerprint) return false;
  if (before.state === "unknown") return takeover === before.token;
  return before.state === "failed" && (takeover === before.token || epoch > before.epoch);
}

/** A world of two processes that share a store, of which both may stop, go on and die. */
class World {
  readonly time = virtualTime();
  readonly memory: IdempotencyStore = memoryStore({ runtime: this.time.runtime });
  readonly runs: Run[] = [];
  readonly broken: string[] = [];
  readonly calls: Promise<void>[] = [];
  readonly results: { readonly key: string; readonly amount: number; readonly result: ToolResult }[] = [];
  #processes = [this.#process(), this.#process()];

  /** Both processes are clients, servers or have the tool themselves. */
  constructor(readonly side: Side) {}

  /** A store that checks every change against the table. */
  #watched(gate: () => Promise<void>): IdempotencyStore {
    const { memory } = this;
    const watch = async <T>(key: string, event: Event, act: () => Promise<T>): Promise<T> => {
      await gate();
      // All three look at the same moment: the store in memory does its work at once.
      const [before, result, after] = await Promise.all([memory.get(key), act(), memory.get(key)]);
      if (!isLegal(before, after, event))
        this.broken.push(`${event.method} made ${stateOf(after)} of ${stateOf(before)}`);
      await gate();
      return result;
    };
    return {
      storeId: memory.storeId,
      durable: false,
      claim: (key, claim) => watch(key, { method: "claim", claim }, () => memory.claim(key, claim)),
      extend: (key, token, leaseMs) =>
        watch(key, { method: "extend", token }, () => memory.extend(key, token, leaseMs)),
      settle: (key, token, settlement) =>
        watch(key, { method: "settle", token, settlement }, () => memory.settle(key, token, settlement)),
      release: (key, token) => {
        if (this.runs.some((one) => one.token === token)) this.broken.push("release of a call that ran");
        return watch(key, { method: "release", token }, () => memory.release(key, token));
      },
      expire: async (key, token, ttlMs) => {
        await gate();
        return memory.expire(key, token, ttlMs);
      },
      get: async (key) => {
        await gate();
        return memory.get(key);
      },
      sweep: (limit) => memory.sweep(limit),
    };
  }

  #process() {
    let isStopped = false;
    const held: (() => void)[] = [];
    const gate = (): Promise<void> => (isStopped ? new Promise((resolve) => held.push(resolve)) : Promise.resolve());
    const { runtime: clock } = this.time;
    const runtime: Runtime = { ...clock, sleep: (ms, signal) => clock.sleep(ms, signal).then(gate) };
    const middleware = idempotency({ store: this.#watched(gate), leaseMs: LEASE_MS, ttlMs: Infinity });
    return {
      gate,
      runtime,
      middleware,
      stop: () => {
        isStopped = true;
      },
      go: () => {
        isStopped = false;
        for (const resume of held.splice(0)) resume();
      },
    };
  }

  /** Knows the truth, and says no more than that: what may still happen is unknown. */
  #verify(key: string): ReturnType<Verify> {
    const own = this.runs.filter((one) => one.key === key);
    const done = own.find(({ state }) => state === "succeeded");
    if (done !== undefined) return { execution: "executed", result: { structuredContent: { run: done.id } } };
    return { execution: own.some(({ state }) => state === "running") ? "unknown" : "not-executed" };
  }

  async #act(key: string, amount: number): Promise<ToolResult> {
    const record = await this.memory.get(JSON.stringify([1, this.side, "", null, "pay", key]));
    if (record?.state !== "pending") this.broken.push(`a run began while its record was ${stateOf(record)}`);
    return new Promise((resolve, reject) => {
      const id = this.runs.length;
      const one: Run = {
        id,
        key,
        amount,
        token: record?.token ?? "",
        state: "running",
        end: (how) => {
          if (one.state !== "running") return;
          one.state = how === "succeeds" ? "succeeded" : "failed";
          if (how === "throws") reject(new Error(`run ${id} threw`));
          else resolve({ structuredContent: { run: id }, isError: how === "reports a failure" });
        },
      };
      this.runs.push(one);
    });
  }

  call({ who, key, amount, waits, isRefused, timeoutMs }: CallOp): void {
    const process = this.#processes[who];
    if (process === undefined) return;
    const queue: Middleware = async (ctx, next) => {
      if (waits > 0) await ctx.call.runtime.sleep(waits, ctx.signal);
      if (isRefused) {
        throw new McpTxError("shut", "circuit_open", {
          outcome: { status: "rejected", execution: "not-executed", transient: true },
        });
      }
      return next(ctx);
    };
    const handler = pipeline([process.middleware, queue], async () => {
      const result = await this.#act(key, amount);
      // A process that is stopped hears of nothing.
      await process.gate();
      return result;
    });
    const began = this.runs.length;
    const options = { idempotencyKey: key, ...(timeoutMs !== undefined && { timeoutMs }) };
    const wrap = { runtime: process.runtime, verify: () => this.#verify(key) };
    const work = run(handler, { tool: "pay", args: { amount }, side: this.side, options }, wrap).then(
      (result) => {
        this.results.push({ key, amount, result });
      },
      (error: unknown) => {
        const report = reportOf(error);
        const ran = this.runs.slice(began).filter((one) => one.key === key && one.amount === amount);
        if (report?.execution === "not-executed" && report.attempts > 0 && ran.some(({ state }) => state !== "failed"))
          this.broken.push(`a call that ran says ${JSON.stringify(report)}`);
      },
    );
    this.calls.push(work);
  }

  stop(who: number): void {
    this.#processes[who]?.stop();
  }
  go(who: number): void {
    this.#processes[who]?.go();
  }
  /** It never goes on, and another one takes its place. */
  kill(who: number): void {
    this.#processes[who]?.stop();
    this.#processes[who] = this.#process();
  }
}

interface CallOp {
  readonly type: "call";
  readonly who: number;
  readonly key: string;
  readonly amount: number;
  readonly waits: number;
  readonly isRefused: boolean;
  readonly timeoutMs: number | undefined;
}

const who = fc.integer({ min: 0, max: 1 });
const call: fc.Arbitrary<CallOp> = fc.record({
  type: fc.constant("call" as const),
  who,
  key: fc.constantFrom("a", "a", "b"),
  amount: fc.constantFrom(1, 1, 1, 2),
  waits: fc.constantFrom(0, 0, 10, LEASE_MS / 2, LEASE_MS * 2),
  isRefused: fc.constantFrom(false, false, false, true),
  timeoutMs: fc.constantFrom(undefined, undefined, 5, LEASE_MS),
});
const side = fc.constantFrom("client" as const, "server" as const, "local" as const);
const end = fc.record({
  type: fc.constant("end" as const),
  index: fc.nat(10),
  how: fc.constantFrom("succeeds" as const, "succeeds" as const, "reports a failure" as const, "throws" as const),
});
const advance = fc.record({
  type: fc.constant("advance" as const),
  ms: fc.constantFrom(0, 1, 100, LEASE_MS / 3, LEASE_MS, LEASE_MS * 1.5),
});
const fate = fc.record({ type: fc.constantFrom("stop" as const, "go" as const, "kill" as const), who });
const op = fc.oneof(
  { weight: 4, arbitrary: call },
  { weight: 3, arbitrary: end },
  { weight: 4, arbitrary: advance },
  { weight: 2, arbitrary: fate },
);
type Op = typeof op extends fc.Arbitrary<infer T> ? T : never;

function play(world: World, step: Op): Promise<void> {
  switch (step.type) {
    case "call":
      world.call(step);
      break;
    case "end":
      world.runs[step.index]?.end(step.how);
      break;
    case "advance":
      return world.time.advance(step.ms);
    default:
      world[step.type](step.who);
  }
  return world.time.advance(0);
}

test("two processes on one store follow the table, and no key ever succeeds twice", async () => {
  await fc.assert(
    fc.asyncProperty(side, fc.array(op, { minLength: 5, maxLength: 40 }), async (place, steps) => {
      const world = new World(place);
      for (const step of steps) await play(world, step);
      for (const process of [0, 1]) world.go(process);
      for (const one of world.runs) one.end("succeeds");
      await world.time.advance(LEASE_MS * 4);
      // Runs that began only now.
      for (const one of world.runs) one.end("succeeds");
      await world.time.advance(LEASE_MS * 4);

      expect(world.broken).toEqual([]);
      for (const key of ["a", "b"]) {
        const successes = world.runs.filter((one) => one.key === key && one.state === "succeeded");
        expect(successes.length).toBeLessThanOrEqual(1);
        const ids = world.results
          .filter((one) => one.key === key && one.result.isError !== true)
          .map(({ result }) => (result.structuredContent as { readonly run: number }).run);
        expect(new Set(ids).size).toBeLessThanOrEqual(1);
        for (const id of ids) expect(id).toBe(successes[0]?.id);
      }
      for (const { key, amount, result } of world.results) {
        const { run: id } = result.structuredContent as { readonly run: number };
        expect(world.runs[id]).toMatchObject({ key, amount });
      }
      // Nobody waits for anything any more but the dead and their own timers.
      await Promise.race([Promise.all(world.calls), world.time.advance(LEASE_MS * 4)]);
    }),
    { numRuns: 400 },
  );
}, 60_000);
