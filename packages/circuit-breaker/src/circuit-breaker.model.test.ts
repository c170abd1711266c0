import { type Middleware, type Outcome, pipeline, run, type ToolResult } from "@mcp-tx/core";
import { type VirtualTime, virtualTime } from "@mcp-tx/core/testing";
import fc from "fast-check";
import { expect, test } from "vitest";
import { type CircuitBreaker, circuitBreaker } from "./circuit-breaker.js";
import { CircuitOpenError } from "./errors.js";

/** What a call can come to in these tests. */
type End = "success" | "failure" | "throttled" | "rejected" | "unreachable";

const HINT_MS = 700;
const OUTCOMES: Readonly<Record<Exclude<End, "success">, Outcome>> = {
  failure: { status: "failure", execution: "executed", transient: false, code: "tool_error" },
  throttled: { status: "throttled", execution: "not-executed", transient: true, retryAfterMs: HINT_MS },
  rejected: { status: "rejected", execution: "not-executed", transient: true, code: "queue_full" },
  unreachable: { status: "failure", execution: "not-executed", transient: true, code: "transport_error" },
};

interface Setting {
  readonly consecutive: number | undefined;
  readonly window: { readonly type: "count" | "time"; readonly length: number } | undefined;
  readonly slowCallMs: number | undefined;
  readonly probes: number;
  readonly ramp: number;
}

const RECOVERY_MS = [1000, 2000, 4000];
const MAX_WAIT_MS = 900;
const MINIMUM = 3;
const RATE = 0.5;

const recoveryTimeoutMs = (opening: number): number => RECOVERY_MS[Math.min(opening, RECOVERY_MS.length) - 1] ?? 0;

function breakerOf({ consecutive, window, slowCallMs, probes, ramp }: Setting): CircuitBreaker {
  const rates = { failureRate: RATE, minimumCalls: MINIMUM, slowCallMs };
  return circuitBreaker({
    consecutiveFailures: consecutive,
    recoveryTimeoutMs,
    ...(window !== undefined && {
      window:
        window.type === "count"
          ? { type: "count", size: window.length, ...rates }
          : { type: "time", durationMs: window.length, ...rates },
    }),
    halfOpen: { probes, maxWaitMs: MAX_WAIT_MS, ramp },
  });
}

/** One call as the model sees it. */
interface ModelCall {
  /** Which period it was sent in; `undefined` until it was. */
  period?: number;
  sentAt: number;
  /** When its lease ends, while slots are limited. */
  leaseEnd: number;
}

/** The breaker in its slow and obvious form: everything is remembered, and counted again each time. */
class Model {
  state: "closed" | "open" | "half-open" = "closed";
  /** Grows with each change of state. */
  period = 0;
  openUntil = 0;
  openings = 0;
  isRamping = false;
  /** Every outcome of this period that counted. */
  outcomes: { readonly failed: boolean; readonly slow: boolean; readonly at: number }[] = [];
  /** Calls of this period that hold a slot. */
  held: ModelCall[] = [];

  constructor(readonly setting: Setting) {}

  stateAt(now: number): string {
    return this.state === "open" && now >= this.openUntil ? "half-open" : this.state;
  }

  get consecutiveFailures(): number {
    const last = this.outcomes.findLastIndex(({ failed }) => !failed);
    return this.outcomes.length - 1 - last;
  }

  change(state: Model["state"]): void {
    this.state = state;
    this.period += 1;
    this.outcomes = [];
    this.held = [];
    this.isRamping = false;
  }

  /** Whether a call that comes now may pass. */
  lets(now: number): boolean {
    if (this.state === "open" && now >= this.openUntil) this.change("half-open");
    if (this.state === "open") return false;
    const inFlight = this.held.filter(({ leaseEnd }) => now < leaseEnd).length;
    const succeeded = this.outcomes.filter(({ failed }) => !failed).length;
    if (this.state === "half-open") return inFlight + succeeded < this.setting.probes;
    return !this.isRamping || inFlight < this.setting.probes + succeeded;
  }

  send(call: ModelCall, now: number): boolean {
    if (!this.lets(now)) return false;
    call.period = this.period;
    call.sentAt = now;
    const isLimited = this.state === "half-open" || this.isRamping;
    call.leaseEnd = isLimited ? now + MAX_WAIT_MS : Infinity;
    if (isLimited) this.held.push(call);
    return true;
  }

  end(call: ModelCall, end: End | "cancelled", now: number): void {
    this.held = this.held.filter((other) => other !== call);
    if (end === "cancelled" || end === "rejected") return;
    if (call.period !== this.period || now >= call.leaseEnd) return;
    const { window, slowCallMs = Infinity } = this.setting;
    const slow = window !== undefined && now - call.sentAt > slowCallMs;
    const failed = end !== "success";
    this.outcomes.push({ failed, slow, at: now });
    const hint = end === "throttled" ? HINT_MS : undefined;
    if (this.state === "half-open") this.endProbe(failed || slow, now, hint);
    else this.endCall(now, hint);
  }

  endProbe(failed: boolean, now: number, hint: number | undefined): void {
    if (failed) this.open(now, hint);
    else if (this.outcomes.length >= this.setting.probes) {
      this.change("closed");
      this.openings = 0;
      this.isRamping = this.setting.ramp > 0;
    }
  }

  endCall(now: number, hint: number | undefined): void {
    const { consecutive = this.setting.window === undefined ? 5 : Infinity } = this.setting;
    if (this.consecutiveFailures >= consecutive || this.isRateExceeded(now)) this.open(now, hint);
    else if (this.outcomes.filter(({ failed }) => !failed).length >= this.setting.ramp) this.isRamping = false;
  }

  isRateExceeded(now: number): boolean {
    const { window, slowCallMs } = this.setting;
    if (window === undefined) return false;
    const step = window.length / 10;
    const seen =
      window.type === "count"
        ? this.outcomes.slice(-window.length)
        : this.outcomes.filter(({ at }) => Math.floor(at / step) > Math.floor(now / step) - 10);
    if (seen.length < MINIMUM) return false;
    const share = (name: "failed" | "slow"): number => seen.filter((outcome) => outcome[name]).length / seen.length;
    return share("failed") >= RATE || (slowCallMs !== undefined && share("slow") >= RATE);
  }

  open(now: number, hint: number | undefined): void {
    const { openings } = this;
    this.change("open");
    this.openings = openings + 1;
    this.openUntil = now + (hint ?? recoveryTimeoutMs(this.openings));
  }
}

type Command =
  | { readonly do: "call"; readonly waits: boolean }
  | { readonly do: "calls"; readonly times: number; readonly as: End }
  | { readonly do: "go"; readonly which: number }
  | { readonly do: "end"; readonly which: number; readonly as: End }
  | { readonly do: "abort"; readonly which: number }
  | { readonly do: "advance"; readonly ms: number }
  | { readonly do: "step wall"; readonly ms: number };

const which = fc.nat({ max: 30 });
const ends = fc.constantFrom<End>(
  "success",
  "success",
  "success",
  "failure",
  "failure",
  "throttled",
  "rejected",
  "unreachable",
);
const command: fc.Arbitrary<Command> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant("call"), waits: fc.boolean() }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant("calls"), times: fc.integer({ min: 1, max: 4 }), as: ends }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("go"), which }) },
  { weight: 7, arbitrary: fc.record({ do: fc.constant("end"), which, as: ends }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("abort"), which }) },
  {
    weight: 7,
    arbitrary: fc.record({ do: fc.constant("advance"), ms: fc.constantFrom(1, 50, 99, 300, 900, 1000, 4000, 4000) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("step wall"), ms: fc.constantFrom(-3_600_000, 3_600_000) }) },
);

const setting: fc.Arbitrary<Setting> = fc.record({
  consecutive: fc.constantFrom(undefined, 1, 2, 3),
  window: fc.constantFrom(
    undefined,
    { type: "count", length: 3 } as const,
    { type: "count", length: 5 } as const,
    { type: "time", length: 500 } as const,
    { type: "time", length: 3000 } as const,
  ),
  slowCallMs: fc.constantFrom(undefined, 0, 200),
  probes: fc.integer({ min: 1, max: 3 }),
  ramp: fc.integer({ min: 0, max: 3 }),
});

/** One call that is under way. */
interface Live {
  readonly model: ModelCall;
  readonly controller: AbortController;
  readonly result: Promise<unknown>;
  /** Ends its wait behind the breaker, when it waits. */
  go: (() => void) | undefined;
  /** Ends its run, once it runs. */
  end: ((as: End) => void) | undefined;
}

/** The real breaker and the model side by side. */
class SideBySide {
  readonly time: VirtualTime = virtualTime({ now: 12_345 });
  readonly breaker: CircuitBreaker;
  readonly model: Model;
  live: Live[] = [];
  #starting: Live | undefined;

  constructor(setting: Setting) {
    this.breaker = breakerOf(setting);
    this.model = new Model(setting);
  }

  /** Waits where it is told to, as a limit further in does. */
  readonly #waiting: Middleware = async (ctx, next) => {
    const { args, signal } = ctx;
    const live = this.#starting;
    if (args.waits !== true || live === undefined) return next(ctx);
    await new Promise<void>((resolve, reject) => {
      live.go = resolve;
      signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
    });
    ctx.admit?.();
    this.#starting = live;
    return next(ctx);
  };

  readonly #tool = (): Promise<ToolResult> => {
    const live = this.#starting;
    return new Promise((resolve, reject) => {
      if (live === undefined) throw new Error("nobody starts");
      live.end = (as) => (as === "success" ? resolve({}) : reject(Object.assign(new Error(as), { as })));
    });
  };

  async run(step: Command): Promise<void> {
    switch (step.do) {
      case "call":
        return this.#call(step.waits);
      case "calls":
        return this.#calls(step.times, step.as);
      case "go":
        return this.#go(step.which);
      case "end":
        return this.#end(step.which, step.as);
      case "abort":
        return this.#abort(step.which);
      case "advance":
        return this.time.advance(step.ms);
      default:
        this.time.stepWall(step.ms);
    }
  }

  /** Everything that can be seen from outside is the same. */
  check(): void {
    const { model } = this;
    const now = this.time.now();
    const state = model.stateAt(now);
    expect(this.breaker.state("pay")).toBe(state);
    const [circuit] = this.breaker.snapshot().circuits;
    if (circuit === undefined) {
      expect([state, model.consecutiveFailures]).toEqual(["closed", 0]);
      return;
    }
    expect(circuit).toMatchObject({
      state,
      openForMs: model.state === "open" ? Math.max(0, model.openUntil - now) : 0,
      openings: model.openings,
    });
    if (state === "closed") expect(circuit.consecutiveFailures).toBe(model.consecutiveFailures);
  }

  async #call(waits: boolean): Promise<void> {
    const model: ModelCall = { sentAt: 0, leaseEnd: Infinity };
    const now = this.time.now();
    const isLet = this.model.lets(now) && (waits || this.model.send(model, now));
    const controller = new AbortController();
    const handler = pipeline([this.breaker, this.#waiting], this.#tool);
    let start = (): void => undefined;
    const started = new Promise<void>((resolve) => {
      start = resolve;
    });
    const result = started.then(() =>
      run(
        handler,
        { tool: "pay", args: { waits }, options: { signal: controller.signal } },
        {
          runtime: this.time.runtime,
          classifiers: [({ error }) => OUTCOMES[(error as { as?: keyof typeof OUTCOMES })?.as ?? ("" as "failure")]],
        },
      ),
    );
    const settled = result.then(
      () => "success",
      (error: unknown) => error,
    );
    const live: Live = { model, controller, result: settled, go: undefined, end: undefined };
    this.#starting = live;
    start();
    await this.time.advance(0);
    await this.#expectLet(live, isLet, waits ? live.go : live.end);
  }

  async #expectLet(live: Live, isLet: boolean, arrived: unknown): Promise<void> {
    this.live = this.live.filter((other) => other !== live);
    if (isLet) {
      expect(arrived).toBeDefined();
      this.live.push(live);
      return;
    }
    const error = await live.result;
    expect(CircuitOpenError.isInstance(error) && { state: error.state, retryAfterMs: error.retryAfterMs }).toEqual({
      state: this.model.state,
      retryAfterMs: this.model.state === "open" ? this.model.openUntil - this.time.now() : undefined,
    });
  }

  /** Calls one after the other. */
  async #calls(times: number, as: End): Promise<void> {
    for (let count = 0; count < times; count += 1) {
      const before = this.live.length;
      await this.#call(false);
      const live = this.live[before];
      if (live !== undefined) await this.#finish(live, as);
      this.check();
    }
  }

  #pick(index: number, isOne: (live: Live) => boolean): Live | undefined {
    const candidates = this.live.filter(isOne);
    return candidates[index % Math.max(1, candidates.length)];
  }

  async #go(index: number): Promise<void> {
    const live = this.#pick(index, ({ go, end }) => go !== undefined && end === undefined);
    if (live === undefined) return;
    const isLet = this.model.send(live.model, this.time.now());
    this.#starting = live;
    live.go?.();
    await this.time.advance(0);
    await this.#expectLet(live, isLet, live.end);
  }

  async #end(index: number, as: End): Promise<void> {
    const live = this.#pick(index, ({ end }) => end !== undefined);
    if (live !== undefined) await this.#finish(live, as);
  }

  async #finish(live: Live, as: End): Promise<void> {
    this.live = this.live.filter((other) => other !== live);
    this.model.end(live.model, as, this.time.now());
    live.end?.(as);
    await live.result;
  }

  async #abort(index: number): Promise<void> {
    const live = this.#pick(index, () => true);
    if (live === undefined) return;
    this.live = this.live.filter((other) => other !== live);
    this.model.end(live.model, "cancelled", this.time.now());
    live.controller.abort(new Error("gone"));
    expect(await live.result).toMatchObject({ message: "gone" });
    // Its answer comes late, and changes nothing.
    live.end?.("failure");
  }
}

test("the breaker does what a slow and obvious model does, over any sequence of calls, outcomes, aborts and time", async () => {
  await fc.assert(
    fc.asyncProperty(
      setting,
      fc.array(command, { minLength: 40, maxLength: 80, size: "max" }),
      async (given, commands) => {
        const both = new SideBySide(given);
        for (const step of commands) {
          await both.run(step);
          both.check();
        }
      },
    ),
    { numRuns: 400 },
  );
}, 60_000);
