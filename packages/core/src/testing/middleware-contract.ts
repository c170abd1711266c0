import type { CallContext, CallOptions, Handler, Middleware, ToolResult } from "../contract.js";
import { pipeline } from "../pipeline.js";
import { run } from "../run.js";
import { context } from "./context.js";
import { countingSignal } from "./counting-signal.js";
import { type ScriptedStep, type ScriptedTool, scriptedTool } from "./scripted-tool.js";
import { type VirtualTime, virtualTime } from "./virtual-time.js";

/** One rule that every middleware keeps. */
export interface ContractCase {
  readonly name: string;
  /** @throws Error saying which rule is broken, and how */
  run(): Promise<void>;
}

/** Options of {@link middlewareContract}. */
export interface MiddlewareContractOptions {
  /** Call options that the middleware needs to do its work (a key), for all calls or for the n-th of a case, from 0. */
  readonly options?: CallOptions | ((index: number) => CallOptions) | undefined;
}

const CONTEXT_KEYS: readonly string[] = [
  "tool",
  "args",
  "meta",
  "signal",
  "deadline",
  "attempt",
  "side",
  "options",
  "call",
  "admit",
  "innermost",
] satisfies readonly (keyof CallContext)[];
const OPTIONAL_KEYS: readonly string[] = ["admit", "innermost"];
const CORE_OPTIONS: readonly string[] = [
  "signal",
  "transactionId",
  "timeoutMs",
  "attemptTimeoutMs",
  "middleware",
  "pinned",
];
/** Nobody claims this one. */
const STRAY_OPTION = "dev.mcp-tx/unclaimed";
const CONCURRENT_CALLS = 100;
const SEQUENTIAL_CALLS = 1000;
/** Virtual milliseconds in which an aborted call must be over. */
const PATIENCE_MS = 60_000;
/** Time that a call has in all where its deadline is looked at. */
const DEADLINE_MS = 500;

function check(condition: boolean, message: string): asserts condition {
  if (!condition) throw new Error(`middlewareContract: ${message}`);
}

function show(value: unknown): string {
  if (value instanceof Error) return `${value.name}: ${value.message}`;
  return typeof value === "object" && value !== null ? "an object" : String(value);
}

function someResult(text = "fine"): ToolResult {
  return { content: [{ type: "text", text }], structuredContent: { text } };
}

type Settled = { readonly value: ToolResult } | { readonly error: unknown };

/** What a call came to, as data, also when it throws at once. */
async function settled(call: () => Promise<ToolResult>): Promise<Settled> {
  try {
    return { value: await call() };
  } catch (error) {
    return { error };
  }
}

/** One middleware, fresh from its factory, round a scripted tool. */
class Bench {
  readonly time: VirtualTime = virtualTime();
  readonly tool: ScriptedTool;
  readonly middleware: Middleware;
  readonly #handler: Handler;
  readonly #given: MiddlewareContractOptions["options"];
  #calls = 0;

  constructor(
    contract: Contract,
    steps: readonly ScriptedStep[],
    around: { before?: Middleware; after?: Middleware } = {},
  ) {
    this.middleware = contract.make();
    this.tool = scriptedTool(steps, { repeatLast: true });
    this.#given = contract.options;
    const layers = [around.before, this.middleware, around.after].filter((layer) => layer !== undefined);
    this.#handler = pipeline(layers, this.tool);
  }

  nextOptions(): CallOptions {
    const given = typeof this.#given === "function" ? this.#given(this.#calls) : this.#given;
    this.#calls += 1;
    return given ?? {};
  }

  call(options?: object, args: Readonly<Record<string, unknown>> = {}): Promise<Settled> {
    const request = { tool: "contract", args, options: { ...this.nextOptions(), ...options } };
    return settled(() => run(this.#handler, request, { runtime: this.time.runtime }));
  }

  /** A call from start to end. */
  finish(options?: object): Promise<Settled> {
    return this.time.run(this.call(options));
  }
}

/** What the cases share. */
class Contract {
  constructor(
    readonly factory: () => Middleware,
    readonly options: MiddlewareContractOptions["options"],
  ) {}

  make(): Middleware {
    const middleware = this.factory();
    check(
      typeof middleware === "function",
      `the factory must return a function (ctx, next) => Promise, got ${show(middleware)}`,
    );
    return middleware;
  }
}

async function passesResult(contract: Contract, result: ToolResult): Promise<void> {
  const bench = new Bench(contract, [{ result }]);
  const end = await bench.finish();
  if ("error" in end)
    throw new Error(`middlewareContract: a call that succeeds must not throw, got ${show(end.error)}`);
  check(
    bench.tool.executions === 1,
    `a call that succeeds must run the tool once, it ran ${bench.tool.executions} times`,
  );
  check(end.value === result, "the result must come back as the very object that next() gave");
}

async function passesError(contract: Contract): Promise<void> {
  const error = new Error("the tool failed");
  const end = await new Bench(contract, [{ error }]).finish();
  check("error" in end, "what next() throws must be thrown on, not turned into a result");
  check(end.error === error, `what next() throws must be thrown on as it is, got ${show(end.error)}`);
}

async function keepsCall(contract: Contract): Promise<void> {
  let outer: CallContext | undefined;
  let inner: CallContext | undefined;
  const before: Middleware = (ctx, next) => {
    outer = ctx;
    return next(ctx);
  };
  const after: Middleware = (ctx, next) => {
    inner = ctx;
    return next(ctx);
  };
  const bench = new Bench(contract, [{ result: someResult() }], { before, after });
  const end = await bench.finish({ signal: new AbortController().signal, timeoutMs: PATIENCE_MS });
  check(
    inner !== undefined && outer !== undefined,
    `next must be called, the call ended with ${"error" in end ? show(end.error) : "a result"}`,
  );
  check(inner.call === outer.call, "the context given to next must carry the call it came with");
  check(inner.signal !== undefined, "the context given to next must carry a signal when its own context has one");
  check(inner.attempt >= 1, `the context given to next must count attempts from 1, got ${String(inner.attempt)}`);
}

async function isReentrant(contract: Contract): Promise<void> {
  const step: ScriptedStep = async (ctx) => {
    const index = Number(ctx.args.index);
    await ctx.call.runtime.sleep((index * 37) % CONCURRENT_CALLS);
    return { structuredContent: { index } };
  };
  const bench = new Bench(contract, [step]);
  const calls = Array.from({ length: CONCURRENT_CALLS }, (_, index) => bench.call({}, { index }));
  for (const [index, end] of (await bench.time.run(Promise.all(calls))).entries()) {
    if ("error" in end)
      throw new Error(
        `middlewareContract: of ${CONCURRENT_CALLS} calls at once, call ${index} threw ${show(end.error)}`,
      );
    const got = (end.value.structuredContent as { readonly index?: unknown } | undefined)?.index;
    check(got === index, `of ${CONCURRENT_CALLS} calls at once, call ${index} got the result of call ${String(got)}`);
  }
}

/** Freezes plain data all the way down; a signal or a call is no data. */
function freezeDeep<T>(value: T): T {
  const prototype: unknown = typeof value === "object" && value !== null ? Object.getPrototypeOf(value) : undefined;
  if (prototype !== Object.prototype && !Array.isArray(value)) return value;
  for (const inner of Object.values(value as object)) freezeDeep(inner);
  return Object.freeze(value);
}

async function doesNotMutate(contract: Contract): Promise<void> {
  const { runtime, run: finish } = virtualTime();
  const bench = new Bench(contract, [{ result: someResult() }]);
  const ctx = context(
    {
      tool: "contract",
      args: { nested: { list: [1, 2, 3] } },
      meta: { progressToken: 1, nested: { key: "value" } },
      options: bench.nextOptions(),
    },
    { runtime },
  );
  freezeDeep({ ...ctx, call: undefined });
  Object.freeze(ctx);
  const result = freezeDeep(someResult());
  const end = await finish(settled(() => bench.middleware(ctx, () => Promise.resolve(result))));
  check(
    !("error" in end),
    `context, arguments, metadata, options and result are frozen, and the call threw ${"error" in end ? show(end.error) : ""}`,
  );
}

async function refusesAborted(contract: Contract): Promise<void> {
  const bench = new Bench(contract, [{ result: someResult() }]);
  const end = await bench.finish({ signal: AbortSignal.abort(new Error("aborted before the call")) });
  check(bench.tool.executions === 0, "a call whose signal is aborted already must not run the tool");
  check("error" in end, "a call whose signal is aborted already must reject");
}

async function settlesOnAbort(contract: Contract): Promise<void> {
  const bench = new Bench(contract, [{ hang: true }]);
  const controller = new AbortController();
  let isOver = false;
  const call = bench.call({ signal: controller.signal }).then(() => {
    isOver = true;
  });
  await bench.time.advance(10);
  controller.abort(new Error("aborted mid-flight"));
  await bench.time.advance(PATIENCE_MS);
  check(isOver, `a call that is aborted while the tool runs must settle; it had not after ${PATIENCE_MS} ms`);
  await call;
  check(
    bench.tool.executions <= 1,
    `a call that is aborted must not run the tool again; it ran ${bench.tool.executions} times`,
  );
}

/** A context may have a later deadline: work that is detached from its callers. The call itself may not. */
async function settlesAtDeadline(contract: Contract): Promise<void> {
  const bench = new Bench(contract, [{ hang: true }]);
  let isOver = false;
  const call = bench.call({ timeoutMs: DEADLINE_MS }).then(() => {
    isOver = true;
  });
  await bench.time.advance(DEADLINE_MS);
  check(isOver, `a call with a deadline in ${DEADLINE_MS} ms must be over then, though the tool still runs`);
  await call;
}

async function leaksNoListener(contract: Contract): Promise<void> {
  const steps: ScriptedStep[] = Array.from({ length: SEQUENTIAL_CALLS }, (_, index) =>
    index % 2 === 0 ? { result: someResult() } : { result: { ...someResult(), isError: true } },
  );
  const bench = new Bench(contract, steps);
  const counting = countingSignal();
  for (let index = 0; index < SEQUENTIAL_CALLS; index += 1) await bench.finish({ signal: counting.signal });
  const { listeners } = counting;
  check(
    listeners === 0,
    `after ${SEQUENTIAL_CALLS} finished calls on one signal, ${listeners} abort listeners are left on it`,
  );
}

async function passesContext(contract: Contract): Promise<void> {
  const bench = new Bench(contract, [{ result: someResult() }]);
  const given: unknown[][] = [];
  const next = (...parameters: unknown[]): Promise<ToolResult> => {
    given.push(parameters);
    return Promise.resolve(someResult());
  };
  const ctx = context({ tool: "contract", options: bench.nextOptions() }, { runtime: bench.time.runtime });
  await bench.time.run(settled(() => bench.middleware(ctx, next)));
  check(given.length > 0, "next must be called");
  for (const [passed, ...rest] of given) {
    check(
      typeof passed === "object" && passed !== null,
      `next must be called with a context, got ${show(passed)}; write next(ctx)`,
    );
    check(rest.length === 0, "next takes the context and nothing else");
    const missing = CONTEXT_KEYS.find((key) => !OPTIONAL_KEYS.includes(key) && !(key in passed));
    check(
      missing === undefined,
      `the context given to next lacks "${String(missing)}"; derive it with { ...ctx, ... }`,
    );
    const extra = Object.keys(passed).find((key) => !CONTEXT_KEYS.includes(key));
    check(
      extra === undefined,
      `the context given to next has a member "${String(extra)}" of its own; keep it in ctx.call.set(key, value)`,
    );
  }
}

async function isNamed(contract: Contract): Promise<void> {
  const { name } = contract.make();
  check(
    typeof name === "string" && name !== "",
    "the factory must return a named function: names appear in messages and stack traces",
  );
}

async function sharesNothing(contract: Contract): Promise<void> {
  const failing = new Bench(contract, [{ error: new Error("the tool failed") }]);
  const other = new Bench(contract, [{ result: someResult() }]);
  check(failing.middleware !== other.middleware, "each call of the factory must return a function of its own");
  for (let index = 0; index < 20; index += 1) await failing.finish();
  const end = await other.finish();
  const seen = "error" in end ? show(end.error) : "a result";
  check(
    other.tool.executions === 1,
    `calls through one middleware must not show in another of the same factory; its call ended with ${seen}`,
  );
  check(
    !("error" in end),
    `calls through one middleware must not show in another of the same factory; its call threw ${seen}`,
  );
}

async function claimsOnlyItsKeys(contract: Contract): Promise<void> {
  const bench = new Bench(contract, [{ result: someResult() }]);
  const { optionKeys = [] } = bench.middleware;
  const isList = Array.isArray(optionKeys) && optionKeys.every((key) => typeof key === "string" && key !== "");
  check(isList, "optionKeys must be an array of option names");
  const core = optionKeys.find((key) => CORE_OPTIONS.includes(key));
  check(core === undefined, `optionKeys must not hold "${String(core)}", which is the core's`);
  const end = await bench.finish({ [STRAY_OPTION]: true });
  check(
    "error" in end && end.error instanceof TypeError,
    "an option that is none of the middleware's must be refused with a TypeError",
  );
  check(bench.tool.executions === 0, "a call with an option that nobody takes must not run the tool");
}

/**
 * The conformance suite of every middleware, ours or a third party's. Any test runner can run the cases.
 *
 * @remarks
 * Each case makes its own middleware: whatever it keeps its state in must be made inside the factory. Time is virtual, so that
 * a middleware that waits on `ctx.call.runtime` costs no time.
 *
 * @example
 * ```ts
 * for (const { name, run } of middlewareContract(() => audit())) test(name, run);
 * ```
 *
 * @param factory - makes the middleware, with settings under which it lets a thousand calls through
 */
export function middlewareContract(
  factory: () => Middleware,
  { options }: MiddlewareContractOptions = {},
): readonly ContractCase[] {
  if (typeof factory !== "function")
    throw new TypeError("middlewareContract: factory must be a function () => Middleware");
  const contract = new Contract(factory, options);
  const cases: Readonly<Record<string, (contract: Contract) => Promise<void>>> = {
    "passes a result through as it is": (it) => passesResult(it, someResult()),
    "passes a result with isError through as it is": (it) => passesResult(it, { ...someResult("no"), isError: true }),
    "passes an error through as it is": passesError,
    "runs next with a context of the same call": keepsCall,
    "passes next exactly a context": passesContext,
    "gives each of 100 concurrent calls its own result": isReentrant,
    "changes nothing of context, arguments, metadata and options": doesNotMutate,
    "does not run a call that is aborted already": refusesAborted,
    "settles a call that is aborted while the tool runs": settlesOnAbort,
    "settles a call at its deadline while the tool runs": settlesAtDeadline,
    "leaves no abort listener behind": leaksNoListener,
    "is a named function": isNamed,
    "shares no state with another of the same factory": sharesNothing,
    "claims no option but its own": claimsOnlyItsKeys,
  };
  return Object.entries(cases).map(([name, prove]) => ({ name, run: () => prove(contract) }));
}
