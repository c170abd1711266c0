import type { CircuitBreaker } from "@mcp-tx/circuit-breaker";
import type { Middleware, WrapOptions } from "@mcp-tx/core";
import type { ReliableConfig } from "./config-types.js";
import {
  breakerLayer,
  concurrencyLayers,
  idempotencyLayer,
  type LayerSpec,
  rateLimitLayers,
  retryLayer,
} from "./layers.js";
import { type Observers, observers } from "./logging.js";
import { readConfig } from "./read-config.js";
import { orderProblems, partsOf, seated, takes } from "./seats.js";
import { timeLimits } from "./time-limits.js";
import { ToolOverrides } from "./tool-overrides.js";
import { warnOnce } from "./warn.js";

/** Everything that one configuration comes to. */
export interface Preset {
  readonly config: ReliableConfig;
  /** Outermost first: `outer` and `layers`. */
  readonly middleware: readonly Middleware[];
  /** What has no seat of its own: the log of arguments and results, the time limits of tools. */
  readonly outer: readonly Middleware[];
  /** The standard order. */
  readonly layers: readonly Middleware[];
  readonly wrapOptions: WrapOptions;
  /** All that can tell the state of circuits, those included that the user brought. */
  readonly breakers: readonly Pick<CircuitBreaker, "snapshot">[];
}

/** What {@link createPreset} is told beside the configuration. */
export interface PresetOptions {
  /**
   * What stands before the names of tools in the configuration.
   * @defaultValue ""
   */
  readonly prefix?: string | undefined;
  /**
   * What the configuration is called in messages; `""` where its keys stand alone.
   * @defaultValue "config"
   */
  readonly root?: string | undefined;
}

function isBreaker(middleware: Middleware): middleware is Middleware & Pick<CircuitBreaker, "snapshot"> {
  return typeof (middleware as Partial<CircuitBreaker>).snapshot === "function";
}

/** Whether the user configured a section, for all tools or for some, so that it is wanted whatever else there is. */
function isConfigured(spec: LayerSpec, name: "retry" | "idempotency" | "circuitBreaker"): boolean {
  return spec.config[name] !== undefined || spec.overrides.all.some(({ config }) => config[name] !== undefined);
}

/** Builds the layers of a configuration, checked before. */
function layersOf(spec: LayerSpec, extras: readonly Middleware[]): readonly Middleware[] {
  // A default makes room for what the user brings along in its place. What he asks for by name stays.
  const makesRoom = (name: "retry" | "idempotency" | "circuitBreaker", seat: "retry" | "idempotency" | "breaker") =>
    !isConfigured(spec, name) && takes(extras, seat);
  return [
    ...(makesRoom("idempotency", "idempotency") ? [] : idempotencyLayer(spec)),
    ...(makesRoom("retry", "retry") ? [] : retryLayer(spec)),
    ...(makesRoom("circuitBreaker", "breaker") ? [] : breakerLayer(spec)),
    ...rateLimitLayers(spec),
    ...concurrencyLayers(spec),
  ];
}

function wrapOptionsOf(config: ReliableConfig, timeoutMs: number | undefined, observing: Observers): WrapOptions {
  const { runtime, peer, classifiers, trustAnnotations, verify, attemptTimeoutMs } = config;
  const { onReport, onEvent } = observing;
  return { runtime, peer, classifiers, trustAnnotations, verify, timeoutMs, attemptTimeoutMs, onReport, onEvent };
}

/**
 * Builds the pipeline of a configuration. Whatever differs from tool to tool is looked up by the tool's name once; a call through
 * the result costs what its parts cost.
 *
 * @throws TypeError or RangeError naming the full path of what is wrong
 */
export function createPreset(given: unknown, { prefix = "", root = "config" }: PresetOptions = {}): Preset {
  const config = readConfig(given, root);
  const extras = partsOf(config.middleware ?? []);
  const overrides = new ToolOverrides(config.tools ?? {}, root);
  const spec: LayerSpec = { config, overrides, root, prefix };
  const times = timeLimits(spec);
  const observing = observers(config);
  const layers = seated([...layersOf(spec, extras), ...extras]);
  const outer = [...observing.layer, ...times.layer];
  const middleware = [...outer, ...layers];
  for (const problem of orderProblems(middleware)) warnOnce(problem, config.logger);
  return {
    config,
    middleware,
    outer,
    layers,
    wrapOptions: wrapOptionsOf(config, times.timeoutMs, observing),
    breakers: layers.filter(isBreaker),
  };
}

/**
 * The middleware of a configuration in the standard order, for `wrapClient`, `wrapTransport` or `wrapTool`. Give them
 * {@link wrapOptions} of the same configuration as well: time limits, the logger and the like are not middleware.
 *
 * @throws TypeError or RangeError naming the full path of what is wrong, such as `config.tools["pay*"].retry.maxAttempts`
 */
export function standardOrder(config: ReliableConfig = {}): readonly Middleware[] {
  return createPreset(config).middleware;
}

/**
 * The last argument of a wrapper for a configuration.
 *
 * @remarks
 * With `wrapTransport`, set `timeoutMs` in the configuration when some tool has a limit of its own that is longer than the 55 s
 * that `wrapTransport` has without.
 *
 * @throws TypeError or RangeError naming the full path of what is wrong
 */
export function wrapOptions(config: ReliableConfig = {}): WrapOptions {
  return createPreset(config).wrapOptions;
}
