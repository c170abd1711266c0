import {
  type Call,
  type CallContext,
  createKey,
  defaultRuntime,
  type Handler,
  type Runtime,
  type ToolResult,
} from "@mcp-tx/core";
import {
  type Attributes,
  type Context,
  context,
  createNoopMeter,
  type Meter,
  type MeterProvider,
  metrics,
  ProxyTracerProvider,
  propagation,
  ROOT_CONTEXT,
  type TextMapGetter,
  type TextMapPropagator,
  type TextMapSetter,
  type Tracer,
  type TracerProvider,
  trace,
} from "@opentelemetry/api";
import { createInstruments, type Instruments } from "./instruments.js";
import { Names } from "./names.js";
import type { RetryBudgetSource, Settings } from "./options.js";
import { quietly } from "./quietly.js";
import {
  ATTR_OPERATION_NAME,
  ATTR_TOOL_NAME,
  METRIC_BUDGET_REMAINING,
  OPERATION_EXECUTE_TOOL,
  SCOPE,
} from "./semconv.js";

type Meta = Readonly<Record<string, unknown>>;
type Carrier = Record<string, unknown>;

const setter: TextMapSetter<Carrier> = {
  set(carrier, key, value) {
    carrier[key] = value;
  },
};

/** `_meta` comes from the other end: only strings of its own count. */
const getter: TextMapGetter<Meta> = {
  keys: (carrier) => Object.keys(carrier),
  get(carrier, key) {
    const value = Object.hasOwn(carrier, key) ? carrier[key] : undefined;
    return typeof value === "string" ? value : undefined;
  },
};

/** What a proxy delegates to before anything is registered. */
const NOTHING_REGISTERED: TracerProvider = new ProxyTracerProvider().getDelegate();

const SpanContextKey = createKey<Context>("@mcp-tx/otel.context");

/**
 * The OpenTelemetry context of a call under `otel()` or `otelServer()`, whose span it holds: a parent for spans of a local tool or a
 * middleware where there is no active context. `undefined` for a call under neither.
 */
export function contextOf(call: Call): Context | undefined {
  return call.get(SpanContextKey);
}

export function keepContext(call: Call, within: Context): void {
  call.set(SpanContextKey, within);
}

/** The ambient context. */
export function ambient(): Context {
  try {
    return context.active();
  } catch {
    return ROOT_CONTEXT;
  }
}

/** What one middleware sends its telemetry through. Providers that are registered late are found, and none at all costs little. */
export class Telemetry {
  readonly settings: Settings;
  readonly names: Names;
  readonly #isNative: boolean;
  readonly #hasCommon: boolean;
  readonly #budget: RetryBudgetSource | undefined;
  #tracer: Tracer | undefined;
  #tracedBy: TracerProvider | undefined;
  #instruments: Instruments | undefined;
  #measuredBy: MeterProvider | undefined;
  /** Of the latest call: a budget counts on the clock of its calls. */
  #runtime: Runtime = defaultRuntime;

  constructor(settings: Settings, budget?: RetryBudgetSource) {
    this.settings = settings;
    this.names = new Names(settings.maxNames);
    this.#isNative = settings.mode === "native";
    this.#hasCommon = !isEmpty(settings.attributes);
    this.#budget = budget;
  }

  /** `undefined` when spans would go nowhere. */
  tracer(): Tracer | undefined {
    if (!this.#isNative) return undefined;
    // Not through quietly: this is asked on every call, with and without an SDK.
    try {
      const provider = this.settings.tracerProvider ?? trace.getTracerProvider();
      return provider === this.#tracedBy ? this.#tracer : this.#findTracer(provider);
    } catch {
      return undefined;
    }
  }

  #findTracer(provider: TracerProvider): Tracer | undefined {
    if (provider instanceof ProxyTracerProvider && provider.getDelegate() === NOTHING_REGISTERED) return undefined;
    this.#tracer = provider.getTracer(SCOPE);
    this.#tracedBy = provider;
    return this.#tracer;
  }

  /** `undefined` when measurements would go nowhere. */
  instruments(): Instruments | undefined {
    if (!this.#isNative) return undefined;
    try {
      const provider = this.settings.meterProvider ?? metrics.getMeterProvider();
      return provider === this.#measuredBy ? this.#instruments : this.#findInstruments(provider);
    } catch {
      return undefined;
    }
  }

  #findInstruments(provider: MeterProvider): Instruments | undefined {
    const meter = provider.getMeter(SCOPE);
    const goesNowhere = meter === createNoopMeter();
    this.#instruments = goesNowhere ? undefined : createInstruments(meter, this.settings.attributes);
    this.#measuredBy = provider;
    if (!goesNowhere && this.#budget !== undefined) this.#observe(meter, this.#budget);
    return this.#instruments;
  }

  #observe(meter: Meter, budget: RetryBudgetSource): void {
    const options = { description: "Repetitions that the retry budget still allows", unit: "{retry}" };
    meter.createObservableGauge(METRIC_BUDGET_REMAINING, options).addCallback((gauge) => {
      const remaining = quietly(() => budget.remaining(this.#runtime.now()));
      if (remaining !== undefined) gauge.observe(remaining, this.settings.attributes);
    });
  }

  /** What every span says; a new object, to be added to. */
  attributesOf(tool: string): Attributes {
    const attributes: Attributes = { [ATTR_OPERATION_NAME]: OPERATION_EXECUTE_TOOL, [ATTR_TOOL_NAME]: tool };
    return this.#hasCommon ? Object.assign(attributes, this.settings.attributes) : attributes;
  }

  /** Remembers whose clock counts. */
  sees(call: Call): void {
    this.#runtime = call.runtime;
  }

  /** `undefined` when a context would not be written anywhere. */
  propagator(): Pick<TextMapPropagator, "inject" | "extract"> | undefined {
    const { mode, propagator } = this.settings;
    if (mode === "off") return undefined;
    if (propagator !== undefined) return propagator;
    try {
      return propagation.fields().length === 0 ? undefined : propagation;
    } catch {
      return undefined;
    }
  }

  /** What a span of this call stands below: the call's own span, what the caller says in `_meta`, or the ambient one. */
  parentOf(ctx: CallContext): Context {
    const known = contextOf(ctx.call);
    if (known !== undefined) return known;
    const around = ambient();
    return isEmpty(ctx.meta) ? around : this.extract(ctx.meta, around);
  }

  extract(meta: Meta, base: Context): Context {
    try {
      return this.propagator()?.extract(base, meta, getter) ?? base;
    } catch {
      return base;
    }
  }

  /** `_meta` with the context in it; the same object when there is nothing to add. */
  inject(within: Context, meta: Meta): Meta {
    const carrier: Carrier = {};
    try {
      this.propagator()?.inject(within, carrier, setter);
    } catch {
      // What it wrote so far is worth as much as nothing.
    }
    return isEmpty(carrier) ? meta : { ...meta, ...carrier };
  }

  /** Goes on inwards, with the context as the active one where that is wanted. */
  run(within: Context, ctx: CallContext, next: Handler): Promise<ToolResult> {
    if (!this.settings.activeContext) return start(ctx, next);
    let running: Promise<ToolResult> | undefined;
    const begin = (): void => {
      running = start(ctx, next);
    };
    quietly(() => context.with(within, begin));
    return running ?? start(ctx, next);
  }

  /** Attributes of a captured value. What cannot be shown, or not be redacted, is left out. */
  captured(name: string, tool: string, kind: "arguments" | "result", value: unknown): Attributes | undefined {
    const { redact } = this.settings;
    return quietly(() => {
      const text = JSON.stringify(redact === undefined ? value : redact(value, { tool, kind }));
      return text === undefined ? undefined : { [name]: text };
    });
  }
}

function isEmpty(object: object): boolean {
  for (const _ in object) return false;
  return true;
}

/** A next that throws at once rejects. */
function start(ctx: CallContext, next: Handler): Promise<ToolResult> {
  try {
    return Promise.resolve(next(ctx));
  } catch (error) {
    return Promise.reject(error);
  }
}
