import { type BreakerSnapshot, type CircuitBreaker, circuitBreaker } from "@mcp-tx/circuit-breaker";
import { type CallContext, type Handler, type Middleware, type ToolResult, when } from "@mcp-tx/core";
import type { IdempotencyStore } from "@mcp-tx/core/stores";
import { idempotency, memoryStore } from "@mcp-tx/idempotency";
import { concurrencyLimit, type LimitKey, type RateLimit, rateLimit } from "@mcp-tx/rate-limit";
import { type RetryBudget, type RetryOptions, retry, retryBudget } from "@mcp-tx/retry";
import { childPath } from "./config-path.js";
import type {
  CircuitBreakerConfig,
  ConcurrencyConfig,
  IdempotencyConfig,
  RateLimitConfig,
  ReliableConfig,
  RetryConfig,
  SharedKey,
  ToolConfig,
} from "./config-types.js";
import { keyedByFields } from "./key-fields.js";
import { configuredAt, layered, overlay, type PerTool, type Section, type SectionName, variants } from "./sections.js";
import type { ToolOverrides } from "./tool-overrides.js";

/**
 * Milliseconds after which no repetition starts, unless `timeoutMs` says how long a call may take: two of the SDK's own request
 * timeouts. Without it three attempts, and what a server asks to wait between them, come to up to a quarter of an hour.
 */
const MAX_ELAPSED_MS = 120_000;

/** Milliseconds for which a circuit is open, until probes fail. */
const FIRST_RECOVERY_MS = 1000;
const MAX_RECOVERY_MS = 60_000;

/**
 * One crash fails all calls that are under way, which alone may open a circuit: a server that is back at once is called at once. Where
 * it is not, twice as long for each probe that fails.
 */
function recovery(opening: number): number {
  return Math.min(FIRST_RECOVERY_MS * 2 ** (opening - 1), MAX_RECOVERY_MS);
}

/** What layers are made of. */
export interface LayerSpec {
  readonly config: ReliableConfig;
  readonly overrides: ToolOverrides;
  /** What the configuration is called in messages. */
  readonly root: string;
  /** What stands before the name of a tool in the configuration: `"search."` for the server `search` among several. */
  readonly prefix: string;
}

/** A section as it is for all tools. */
function sectionOf<T extends object>(
  { root }: LayerSpec,
  name: SectionName,
  value: T | boolean | undefined,
  isOn: boolean,
): Section<T> {
  const path = childPath(root, name);
  return overlay({ isOn, options: {} as T, path }, value, path);
}

/** What each tool has of a section in which its own options go over those of all. */
function overridable<T extends object, M>(
  spec: LayerSpec,
  name: SectionName,
  base: Section<T>,
  build: (section: Section<T>) => M,
): PerTool<M> {
  return variants({
    ...spec,
    concerns: (config) => config[name] !== undefined,
    combine: (said) => layered(base, name, said),
    build,
  });
}

/**
 * Hands each call on to what its tool has, by way of one middleware; none at all where no tool has anything.
 *
 * @param controls - what the middleware can be asked beside, as its parts can
 */
function dispatch<M extends Middleware>(made: PerTool<M>, controls: object = {}): readonly Middleware[] {
  const model = made.base ?? made.made()[0];
  if (model === undefined) return [];
  if (made.isUniform) return [model];

  function perTool(ctx: CallContext, next: Handler): Promise<ToolResult> {
    try {
      const own = made.of(ctx.tool);
      return own === undefined ? next(ctx) : own(ctx, next);
    } catch (error) {
      return Promise.reject(error);
    }
  }
  const { seat, optionKeys, records } = model;
  Object.defineProperty(perTool, "name", { value: `${model.name}PerTool` });
  const layer: Middleware = Object.assign(perTool, { seat, optionKeys, records }, controls);
  // Where there is nothing, nothing honours the call options either: they are refused, not swallowed.
  if (!made.hasGaps || optionKeys === undefined) return [layer];
  const guarded = when((ctx) => made.of(ctx.tool) !== undefined, layer);
  const { announces } = layer;
  if (announces === undefined) return [guarded];
  // Nothing can be promised for all tools. What a server may not do without is asked for all the same.
  const promisesNothing: NonNullable<Middleware["announces"]> = (peer) => {
    announces(peer);
    return undefined;
  };
  return [Object.assign(guarded, { announces: promisesNothing })];
}

/** What all repetitions of a pipeline draw on. */
function budgetOf({ config, root }: LayerSpec): RetryBudget | undefined {
  const given = config.retryBudget;
  if (given === false) return undefined;
  if (given !== undefined && "withdraw" in given) return given;
  return configuredAt(childPath(root, "retryBudget"), () => retryBudget(given));
}

function retryOptions({ retryOn, ...options }: RetryConfig, budget: RetryBudget | undefined): RetryOptions {
  if (typeof retryOn === "function" || retryOn === undefined) return { ...options, retryOn, budget };
  const codes: ReadonlySet<unknown> = new Set(retryOn);
  return { ...options, retryOn: ({ code }) => (codes.has(code) ? true : undefined), budget };
}

/** Repeats calls. */
export function retryLayer(spec: LayerSpec): readonly Middleware[] {
  const { config } = spec;
  const budget = budgetOf(spec);
  const hasTime = ({ timeoutMs }: ToolConfig): boolean => timeoutMs !== undefined;
  const bounded: RetryConfig = hasTime(config) ? {} : { maxElapsedMs: MAX_ELAPSED_MS };
  const base = sectionOf<RetryConfig>(spec, "retry", config.retry, true);
  return dispatch(
    variants({
      ...spec,
      concerns: (tool) => tool.retry !== undefined || hasTime(tool),
      combine: (said) => {
        const section = layered(base, "retry", said);
        const limit = said.some((override) => hasTime(override.config)) ? {} : bounded;
        return { ...section, options: { ...limit, ...section.options } };
      },
      build: ({ options }) => retry(retryOptions(options, budget)),
    }),
  );
}

/** Makes calls with a key happen once. */
export function idempotencyLayer(spec: LayerSpec): readonly Middleware[] {
  const { config, overrides } = spec;
  // Several middlewares must share their records, or whoever pins some would find only those of the first.
  const isSplit = overrides.all.some((override) => override.config.idempotency !== undefined);
  let shared: IdempotencyStore | undefined;
  function storeOf(given: IdempotencyStore | undefined): IdempotencyStore | undefined {
    if (given !== undefined || !isSplit) return given;
    shared ??= memoryStore({ runtime: config.runtime });
    return shared;
  }
  const base = sectionOf<IdempotencyConfig>(spec, "idempotency", config.idempotency, true);
  const made = overridable(spec, "idempotency", base, ({ options: { key, store, ...options } }) => {
    const isFunction = typeof key === "function" || key === undefined;
    const middleware = idempotency({ ...options, store: storeOf(store), key: isFunction ? key : undefined });
    return isFunction ? middleware : keyedByFields(middleware, key);
  });
  // Only a store that was given may be announced; what has none says so when it is asked.
  const announces = base.options.store === undefined ? idempotency().announces : announcementOf(made);
  return dispatch(made, { announces });
}

/** What can be promised for all tools: the shortest time for which one of them keeps its records. */
function announcementOf(made: PerTool<Middleware>): Middleware["announces"] {
  return (peer) => {
    const [first, ...others] = made.made().map(({ announces }) => announces?.(peer));
    if (first === undefined || others.includes(undefined)) return undefined;
    return { ...first, windowMs: Math.min(...[first, ...others].map((each) => each?.windowMs ?? 0)) };
  };
}

function serverKey(ctx: CallContext): string {
  return ctx.call.peer.server ?? "";
}

function toolKey(ctx: CallContext): string {
  return JSON.stringify([ctx.call.peer.server ?? null, ctx.tool]);
}

/** The key function; `undefined` for what the package does by itself, which costs less, and knows circuits by their tool. */
function keyOf(key: SharedKey, ownDefault: "tool" | "server"): LimitKey | undefined {
  if (typeof key === "function") return key;
  if (key === ownDefault) return undefined;
  return key === "server" ? serverKey : toolKey;
}

/** Stops calls that keep failing. */
export function breakerLayer(spec: LayerSpec): readonly Middleware[] {
  const base = sectionOf<CircuitBreakerConfig>(spec, "circuitBreaker", spec.config.circuitBreaker, true);
  const made = overridable(
    spec,
    "circuitBreaker",
    base,
    ({ options: { key = "tool", recoveryTimeoutMs = recovery, ...options } }) =>
      circuitBreaker({ ...options, recoveryTimeoutMs, key: keyOf(key, "tool") }),
  );
  return dispatch(made, { snapshot: () => joined(made.made()) });
}

/** The state of several breakers as if they were one. */
function joined(breakers: readonly CircuitBreaker[]): BreakerSnapshot {
  const snapshots = breakers.map((breaker) => breaker.snapshot());
  return {
    version: 1,
    takenAtWall: Math.max(0, ...snapshots.map(({ takenAtWall }) => takenAtWall)),
    circuits: snapshots.flatMap(({ circuits }) => circuits),
    isolated: snapshots.flatMap(({ isolated }) => isolated),
  };
}

/**
 * A limit for all tools, and limits of some tools' own in front of it: a call that waits for its tool's turn must not hold what
 * the others wait for. A tool with `false` has neither.
 */
function limits<T extends object, M extends Middleware>(
  spec: LayerSpec,
  name: "rateLimit" | "concurrency",
  all: T | false | undefined,
  build: (options: T, key: SharedKey) => M,
  controls: (made: PerTool<M>) => object = () => ({}),
): readonly Middleware[] {
  const base = sectionOf<T>(spec, name, all, false);
  const common = base.isOn ? configuredAt(base.path, () => build(base.options, "server")) : undefined;
  const concerns = (config: ToolConfig): boolean => config[name] !== undefined;
  const own = variants<T, M>({
    ...spec,
    concerns,
    combine: (said) => layered(sectionOf<T>(spec, name, undefined, false), name, said),
    build: ({ options }) => build(options, "tool"),
  });
  if (common === undefined) return dispatch(own, controls(own));
  const shared = variants<object, M>({
    ...spec,
    concerns,
    combine: (said) => ({ ...base, isOn: said.at(-1)?.config[name] !== false }),
    build: () => common,
  });
  return [...dispatch(own, controls(own)), ...dispatch(shared, controls(shared))];
}

/** Keeps calls within a rate. */
export function rateLimitLayers(spec: LayerSpec): readonly Middleware[] {
  function build(options: RateLimitConfig, defaultKey: SharedKey): RateLimit {
    // What is missing is named by the package, as is what does not go together.
    const rate = options.rate as number;
    const { burst = Math.max(1, rate), key = defaultKey } = options;
    return rateLimit({ ...options, rate, burst, key: keyOf(key, "server") });
  }
  return limits(spec, "rateLimit", spec.config.rateLimit, build, (made) => ({
    quota: (ctx: CallContext) => made.of(ctx.tool)?.quota(ctx),
  }));
}

/** Keeps calls within a number at a time. */
export function concurrencyLayers(spec: LayerSpec): readonly Middleware[] {
  const { concurrency } = spec.config;
  const all = typeof concurrency === "number" ? { max: concurrency } : concurrency;
  return limits<ConcurrencyConfig, Middleware>(spec, "concurrency", all, (options, defaultKey) => {
    const max = options.max as number;
    return concurrencyLimit({ ...options, max, key: keyOf(options.key ?? defaultKey, "server") });
  });
}
