import {
  type Handler,
  McpTxError,
  type Middleware,
  pipeline,
  RateLimitError,
  run,
  type ToolResult,
} from "@mcp-tx/core";
import { type VirtualTime, virtualTime } from "@mcp-tx/core/testing";
import fc from "fast-check";
import { expect, test } from "vitest";
import { memoryRateLimitStore } from "./memory-store.js";
import { type RateLimitOptions, rateLimit } from "./rate-limit.js";

/**
 * The limiter against a reference that is slow and plain: a bucket that gains a unit in every millisecond, a list of waiting
 * calls that is looked at in every millisecond, and waits that are found by letting a copy of it all go on.
 */

/** What a call does once it has its tokens. */
type Deed = "work" | "refuse" | "refuse later" | "throttle";

interface CallSpec {
  readonly cost: number;
  /** Milliseconds until its deadline; Infinity for none. */
  readonly timeoutMs: number;
  readonly does: Deed;
}

interface World {
  /** Milliseconds for a token: a whole number, so that both sides count without rounding. */
  readonly intervalMs: number;
  readonly burst: number;
  readonly maxQueue: number;
  readonly maxWaitMs: number;
}

type Command =
  | { readonly kind: "call"; readonly spec: CallSpec }
  | { readonly kind: "abort"; readonly which: number }
  | { readonly kind: "wait"; readonly ms: number };

/** How a call ended its stay in the limiter. */
type End = string;

const PAUSE_MS = 170;
const LATER_MS = 130;

interface Ticket {
  readonly id: number;
  readonly spec: CallSpec;
  readonly enteredAt: number;
}

/** The reference. */
class Reference {
  now = 0;
  /** In milliseconds: a token is worth `intervalMs`. */
  level: number;
  pausedAt = -1;
  pausedUntil = -1;
  queue: Ticket[] = [];
  refunds: { readonly at: number; readonly worth: number; readonly takenAt: number }[] = [];
  readonly ends = new Map<number, End>();

  constructor(readonly world: World) {
    this.level = this.full;
  }

  get full(): number {
    return this.world.burst * this.world.intervalMs;
  }

  worthOf({ cost }: CallSpec): number {
    return cost * this.world.intervalMs;
  }

  copy(): Reference {
    const copy = new Reference(this.world);
    const { now, level, pausedAt, pausedUntil } = this;
    // Of what will come back nobody knows yet.
    return Object.assign(copy, { now, level, pausedAt, pausedUntil, queue: [...this.queue], refunds: [] });
  }

  /** Milliseconds until a call of this cost would have its tokens, behind everybody who waits, if nothing else happens. */
  waitFor(cost: number): number {
    const copy = this.copy();
    const probe: Ticket = { id: -1, spec: { cost, timeoutMs: Infinity, does: "work" }, enteredAt: this.now };
    copy.queue = [
      ...copy.queue.map((ticket) => ({
        ...ticket,
        spec: { ...ticket.spec, timeoutMs: Infinity, does: "work" as const },
      })),
      probe,
    ];
    for (;;) {
      if (copy.grant().some(({ id }) => id === -1)) return copy.now - this.now;
      copy.tick();
    }
  }

  /** One millisecond. */
  tick(): void {
    this.now += 1;
    this.level = Math.min(this.full, this.level + 1);
  }

  /** Gives tokens to whoever stands first and can have them. */
  grant(): Ticket[] {
    const granted: Ticket[] = [];
    for (let first = this.queue[0]; first !== undefined; first = this.queue[0]) {
      if (this.now < this.pausedUntil || this.level < this.worthOf(first.spec)) break;
      this.level -= this.worthOf(first.spec);
      this.queue.shift();
      granted.push(first);
    }
    return granted;
  }

  giveBack(worth: number, takenAt: number): void {
    if (takenAt <= this.pausedAt) return;
    this.level = Math.min(this.full, this.level + Math.max(0, worth - (this.now - takenAt)));
  }

  pause(): void {
    const until = this.now + PAUSE_MS;
    if (until <= this.pausedUntil) return;
    this.pausedAt = this.now;
    this.pausedUntil = until;
    this.level = Math.min(this.level, this.world.intervalMs - PAUSE_MS);
  }

  act({ id, spec }: Ticket): void {
    const worth = this.worthOf(spec);
    this.ends.set(id, spec.does === "refuse" ? `refused inside at ${this.now}` : `went at ${this.now}`);
    if (spec.does === "refuse") this.giveBack(worth, this.now);
    if (spec.does === "throttle") this.pause();
    if (spec.does === "refuse later") this.refunds.push({ at: this.now + LATER_MS, worth, takenAt: this.now });
  }

  /** Everything that happens at this very millisecond. */
  settle(): void {
    for (let granted = this.grant(); granted.length > 0; granted = this.grant()) {
      for (const ticket of granted) this.act(ticket);
    }
  }

  /** Whose time is over leaves. */
  expire(): void {
    const { maxWaitMs } = this.world;
    for (const ticket of [...this.queue]) {
      if (this.now - ticket.enteredAt < Math.min(maxWaitMs, ticket.spec.timeoutMs)) continue;
      this.leave(ticket, `rate_limited at ${this.now}`);
    }
  }

  leave(ticket: Ticket, end: End): void {
    this.queue = this.queue.filter((other) => other !== ticket);
    const retryAfterMs = this.waitFor(ticket.spec.cost);
    this.ends.set(ticket.id, end.startsWith("rate") ? `${end}, again in ${retryAfterMs}` : end);
    this.settle();
  }

  advance(ms: number): void {
    for (let passed = 0; passed < ms; passed += 1) {
      this.tick();
      this.settle();
      for (const refund of this.refunds.filter(({ at }) => at === this.now)) {
        this.giveBack(refund.worth, refund.takenAt);
        this.settle();
      }
      this.expire();
    }
  }

  call(id: number, spec: CallSpec): void {
    const { maxWaitMs, maxQueue } = this.world;
    const waitMs = this.waitFor(spec.cost);
    const ticket: Ticket = { id, spec, enteredAt: this.now };
    const isHopeless = waitMs > 0 && (waitMs > maxWaitMs || waitMs >= spec.timeoutMs);
    if (isHopeless) this.ends.set(id, `rate_limited at ${this.now}, again in ${waitMs}`);
    else if (waitMs > 0 && this.queue.length >= maxQueue)
      this.ends.set(id, `queue_full at ${this.now}, again in ${waitMs}`);
    else this.queue.push(ticket);
    this.settle();
  }

  abort(id: number): void {
    const ticket = this.queue.find((other) => other.id === id);
    if (ticket !== undefined) this.leave(ticket, `aborted at ${this.now}`);
  }
}

class Throttled extends Error {}

/** The same with the real thing. */
class Real {
  readonly time: VirtualTime = virtualTime();
  readonly ends = new Map<number, End>();
  readonly #handler: Handler;
  readonly #controllers = new Map<number, AbortController>();

  constructor(
    { intervalMs, burst, maxQueue, maxWaitMs }: World,
    storeOf: (time: VirtualTime) => Partial<RateLimitOptions>,
  ) {
    const limit = rateLimit({
      rate: 1000 / intervalMs,
      burst,
      maxQueue,
      maxWaitMs,
      cost: (ctx) => Number(ctx.args.cost),
      ...storeOf(this.time),
    });
    const inner: Middleware = async (ctx, next) => {
      const { does, id } = ctx.args;
      this.ends.set(
        Number(id),
        does === "refuse" ? `refused inside at ${this.time.now()}` : `went at ${this.time.now()}`,
      );
      if (does === "refuse later") await ctx.call.runtime.sleep(LATER_MS);
      if (does !== "work" && does !== "throttle") throw new RateLimitError(ctx.tool);
      return next(ctx);
    };
    const terminal: Handler = async (ctx): Promise<ToolResult> => {
      if (ctx.args.does === "throttle") throw new Throttled();
      return {};
    };
    this.#handler = pipeline([limit, inner], terminal);
  }

  async call(id: number, spec: CallSpec): Promise<void> {
    const controller = new AbortController();
    this.#controllers.set(id, controller);
    const { timeoutMs } = spec;
    const request = { tool: "search", args: { ...spec, id }, options: { signal: controller.signal, timeoutMs } };
    const classifiers = [
      ({ error }: { readonly error?: unknown }) =>
        error instanceof Throttled ? ({ status: "throttled", retryAfterMs: PAUSE_MS } as const) : undefined,
    ];
    run(this.#handler, request, { runtime: this.time.runtime, classifiers }).catch((error: unknown) => {
      if (this.ends.has(id)) return;
      const retry = McpTxError.isInstance(error) ? `, again in ${Math.round(error.retryAfterMs ?? -1)}` : "";
      const what = McpTxError.isInstance(error) ? error.code : "aborted";
      this.ends.set(id, `${what} at ${this.time.now()}${retry}`);
    });
    await this.time.advance(0);
  }

  async abort(id: number): Promise<void> {
    this.#controllers.get(id)?.abort(new Error("aborted"));
    await this.time.advance(0);
  }
}

const spec: fc.Arbitrary<CallSpec> = fc.record({
  cost: fc.integer({ min: 1, max: 3 }),
  timeoutMs: fc.oneof(fc.constant(Infinity), fc.integer({ min: 1, max: 900 })),
  does: fc.constantFrom<Deed[]>("work", "work", "work", "work", "refuse", "refuse later", "throttle"),
});
const command: fc.Arbitrary<Command> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ kind: fc.constant("call" as const), spec }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("abort" as const), which: fc.nat() }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("wait" as const), ms: fc.integer({ min: 0, max: 300 }) }) },
);
const world: fc.Arbitrary<World> = fc.record({
  intervalMs: fc.constantFrom(1, 20, 50, 125),
  burst: fc.integer({ min: 3, max: 6 }),
  maxQueue: fc.constantFrom(0, 2, 5, 1000),
  maxWaitMs: fc.constantFrom(60, 250, Infinity),
});

async function compare(
  given: World,
  commands: readonly Command[],
  storeOf: (time: VirtualTime) => Partial<RateLimitOptions>,
): Promise<readonly string[]> {
  const reference = new Reference(given);
  const real = new Real(given, storeOf);
  let calls = 0;
  const play: { readonly [K in Command["kind"]]: (command: Extract<Command, { kind: K }>) => Promise<void> } = {
    async call({ spec }) {
      calls += 1;
      reference.call(calls, spec);
      await real.call(calls, spec);
    },
    async abort({ which }) {
      const id = calls === 0 ? 0 : 1 + (which % calls);
      reference.abort(id);
      await real.abort(id);
    },
    async wait({ ms }) {
      reference.advance(ms);
      await real.time.advance(ms);
    },
  };
  for (const each of commands) await play[each.kind](each as never);
  await play.wait({ kind: "wait", ms: 20_000 });
  expect(Object.fromEntries(real.ends)).toEqual(Object.fromEntries(reference.ends));
  expect(reference.ends.size).toBe(calls);
  expect(real.time.timers).toBe(0);
  return [...reference.ends.values()].map((end) => end.split(" at ")[0] ?? end);
}

/** Compares many runs; gives every way in which calls have ended. */
async function compareAll(
  numRuns: number,
  worlds: fc.Arbitrary<World>,
  commands: fc.Arbitrary<Command>,
  storeOf: (time: VirtualTime) => Partial<RateLimitOptions>,
): Promise<readonly string[]> {
  const seen = new Set<string>();
  const property = fc.asyncProperty(worlds, fc.array(commands, { maxLength: 40 }), async (given, list) => {
    for (const end of await compare(given, list, storeOf)) seen.add(end);
  });
  await fc.assert(property, { numRuns });
  return [...seen].sort();
}

test("does what a slow and plain reference does, call by call, to the millisecond", { timeout: 60_000 }, async () => {
  const ends = await compareAll(300, world, command, () => ({}));
  expect(ends).toEqual(["aborted", "queue_full", "rate_limited", "refused inside", "went"]);
});

test("does the same with a store that answers at once, as far as no time runs out", { timeout: 60_000 }, async () => {
  // An answer that arrives in the very millisecond in which a wait must end comes too late: the reference knows no such thing.
  const patient = world.map((given) => ({ ...given, maxWaitMs: Infinity }));
  const timeless = command.map((each) =>
    each.kind === "call" ? { ...each, spec: { ...each.spec, timeoutMs: Infinity } } : each,
  );
  const ends = await compareAll(200, patient, timeless, (time) => ({
    store: memoryRateLimitStore({ runtime: time.runtime }),
  }));
  expect(ends).toEqual(["aborted", "queue_full", "refused inside", "went"]);
});
