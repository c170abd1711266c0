import {
  type Call,
  type CallContext,
  type Handler,
  type Middleware,
  type ToolResult,
  withInnermost,
} from "@mcp-tx/core";
import { SpanKind, type Tracer } from "@opentelemetry/api";
import type { Instruments } from "./instruments.js";
import { durationAttributes, Operation, type OperationSpec, requestAttributes } from "./operation.js";
import { type OtelOptions, readSettings } from "./options.js";
import { passing } from "./passing.js";
import { quietly } from "./quietly.js";
import { ATTR_RESEND_COUNT, ATTR_TOOL_NAME, METHOD_TOOLS_CALL, OPERATION_EXECUTE_TOOL } from "./semconv.js";
import { Telemetry } from "./telemetry.js";

/** How often the call was sent before, an earlier process that died over it included. */
function timesSent({ attempts }: Call): number {
  let count = 0;
  for (const { handedOver } of attempts) if (handedOver) count += 1;
  return count;
}

/** Where telemetry goes, once it goes anywhere. */
interface Live {
  readonly tracer: Tracer | undefined;
  readonly instruments: Instruments | undefined;
}

/** Whether the terminal will refuse it by itself: there is no attempt then. */
function isOver({ signal, deadline, call }: CallContext): boolean {
  return signal?.aborted === true || (deadline !== Infinity && call.runtime.now() >= deadline);
}

/** What is sent is a request of a client; what runs here is an operation. */
function specOf(telemetry: Telemetry, ctx: CallContext): OperationSpec {
  const isRequest = ctx.side === "client";
  const attributes = isRequest ? requestAttributes(telemetry, ctx) : telemetry.attributesOf(ctx.tool);
  const resends = timesSent(ctx.call);
  if (resends > 0) attributes[ATTR_RESEND_COUNT] = resends;
  return {
    verb: isRequest ? METHOD_TOOLS_CALL : OPERATION_EXECUTE_TOOL,
    kind: isRequest ? SpanKind.CLIENT : SpanKind.INTERNAL,
    parent: telemetry.parentOf(ctx),
    attributes,
  };
}

/** Member by member: a context is closed, and this costs a third of a spread. The compiler misses none. */
function withMeta(ctx: CallContext, meta: CallContext["meta"]): CallContext {
  return {
    tool: ctx.tool,
    args: ctx.args,
    meta,
    signal: ctx.signal,
    deadline: ctx.deadline,
    attempt: ctx.attempt,
    side: ctx.side,
    options: ctx.options,
    call: ctx.call,
    admit: ctx.admit,
    innermost: ctx.innermost,
  } satisfies Required<{ [K in keyof CallContext]: CallContext[K] }>;
}

/** Counts an attempt as waiting from now until the returned function is called. */
function queue(telemetry: Telemetry, { limitQueue, common }: Instruments, { tool }: CallContext): () => void {
  const attributes = { [ATTR_TOOL_NAME]: telemetry.names.of(tool), ...common };
  quietly(() => limitQueue.add(1, attributes));
  return () => quietly(() => limitQueue.add(-1, attributes));
}

/**
 * Traces and measures attempts: one span `tools/call X` for each that is sent, below the span of its call, and the context of that
 * span in the request's `_meta`, so that the server's span stands below it.
 *
 * @remarks
 * The span covers the dispatch alone, whatever waits further in: a call that is answered from a record, or refused by a breaker or
 * a limit, has none.
 *
 * @throws TypeError or RangeError at construction, naming the option
 */
export function otelAttempt(options: OtelOptions = {}): Middleware {
  const settings = readSettings("otelAttempt", options);
  const telemetry = new Telemetry(settings);

  /** Sends an attempt that nothing holds up any more. */
  function send(ctx: CallContext, next: Handler, { tracer, instruments }: Live): Promise<ToolResult> {
    const { call } = ctx;
    const isRequest = ctx.side === "client";
    const operation = new Operation(telemetry, tracer, ctx, specOf(telemetry, ctx));
    const measured = isRequest ? instruments : undefined;
    const startedAt = measured === undefined ? 0 : call.runtime.now();

    function end(thrown: boolean, value: unknown): void {
      const ending = operation.end(thrown, value);
      if (measured === undefined) return;
      const attributes = durationAttributes(telemetry, ctx, ending, METHOD_TOOLS_CALL);
      quietly(() => measured.clientDuration.record((call.runtime.now() - startedAt) / 1000, attributes));
    }
    const meta = isRequest ? telemetry.inject(operation.within, ctx.meta) : ctx.meta;
    const running = telemetry.run(operation.within, meta === ctx.meta ? ctx : withMeta(ctx, meta), next);
    running.then(
      (result) => end(false, result),
      (error) => end(true, error),
    );
    return running;
  }

  /** What is done right before the dispatch. The gates are asked here too: what they refuse is not sent and has no span. */
  function dispatch(ctx: CallContext, next: Handler, live: Live): Promise<ToolResult> {
    if (isOver(ctx)) return next(ctx);
    try {
      ctx.admit?.();
    } catch (error) {
      return Promise.reject(error);
    }
    return send(ctx, next, live);
  }

  function observe(ctx: CallContext, next: Handler, live: Live): Promise<ToolResult> {
    let isSent = false;
    let leaveQueue: (() => void) | undefined;
    const innermost: Middleware = (inner, terminal) => {
      isSent = true;
      leaveQueue?.();
      leaveQueue = undefined;
      return dispatch(inner, terminal, live);
    };
    let running: Promise<ToolResult>;
    try {
      running = Promise.resolve(next(withInnermost(ctx, innermost)));
    } catch (error) {
      running = Promise.reject(error);
    }
    if (isSent || live.instruments === undefined) return running;
    leaveQueue = queue(telemetry, live.instruments, ctx);
    const leave = (): void => leaveQueue?.();
    running.then(leave, leave);
    return running;
  }

  function otelAttempt(ctx: CallContext, next: Handler): Promise<ToolResult> {
    const tracer = telemetry.tracer();
    const instruments = telemetry.instruments();
    if (tracer === undefined && instruments === undefined && telemetry.propagator() === undefined) return next(ctx);
    return observe(ctx, next, { tracer, instruments });
  }
  return Object.assign(settings.mode === "off" ? passing("otelAttempt") : otelAttempt, {
    seat: "attempt-telemetry",
  } as const);
}
