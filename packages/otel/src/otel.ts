import type { Call, CallContext, Handler, Middleware, ToolResult } from "@mcp-tx/core";
import { SpanKind, type Tracer } from "@opentelemetry/api";
import { listen } from "./call-events.js";
import { watchCircuits } from "./circuits.js";
import type { Instruments } from "./instruments.js";
import { durationAttributes, Operation } from "./operation.js";
import { type OtelOptions, type OtelSourceOptions, readCallSettings } from "./options.js";
import { passing } from "./passing.js";
import { quietly } from "./quietly.js";
import { ATTR_CALL_ATTEMPTS, OPERATION_EXECUTE_TOOL } from "./semconv.js";
import { contextOf, keepContext, Telemetry } from "./telemetry.js";

/** Attempts of this call that left; those taken over from an earlier process are not its own. */
function attemptsOf(call: Call): number {
  let count = 0;
  for (const { handedOver, number } of call.attempts) if (handedOver && number > 0) count += 1;
  return count;
}

/**
 * Traces and measures calls: one span `execute_tool X` for each, with what retries, breakers, limits, idempotency and sagas say
 * about it.
 *
 * @remarks
 * A failure that a retry makes good does not mark the span. Keys, arguments, results and error texts stay out of spans and metrics
 * unless `capture` asks for them. Whatever a provider, exporter or hook throws changes no call. Without a registered SDK a call
 * costs next to nothing more.
 *
 * @throws TypeError or RangeError at construction, naming the option
 */
export function otel(options: OtelOptions & OtelSourceOptions = {}): Middleware {
  const settings = readCallSettings("otel", options);
  const telemetry = new Telemetry(settings, settings.retryBudget);
  const circuits = watchCircuits(telemetry, settings);

  function observe(
    ctx: CallContext,
    next: Handler,
    tracer: Tracer | undefined,
    instruments: Instruments | undefined,
  ): Promise<ToolResult> {
    const { call } = ctx;
    telemetry.sees(call);
    const operation = new Operation(telemetry, tracer, ctx, {
      verb: OPERATION_EXECUTE_TOOL,
      kind: SpanKind.INTERNAL,
      parent: telemetry.parentOf(ctx),
      attributes: telemetry.attributesOf(ctx.tool),
    });
    // Under another span of the call the events are counted already.
    const counted = contextOf(call) === undefined ? instruments : undefined;
    keepContext(call, operation.within);
    const isSeen = operation.isRecording || instruments !== undefined;
    const mute = isSeen ? listen(call, { telemetry, operation, instruments: counted, circuits }) : undefined;
    const startedAt = instruments === undefined ? 0 : call.runtime.now();

    function end(thrown: boolean, value: unknown): void {
      mute?.();
      const attempts = attemptsOf(call);
      operation.setAttribute(ATTR_CALL_ATTEMPTS, attempts);
      const ending = operation.end(thrown, value);
      if (instruments === undefined) return;
      const attributes = durationAttributes(telemetry, ctx, ending);
      quietly(() => instruments.callDuration.record((call.runtime.now() - startedAt) / 1000, attributes));
      quietly(() => instruments.callAttempts.record(attempts, attributes));
    }
    const running = telemetry.run(operation.within, ctx, next);
    running.then(
      (result) => end(false, result),
      (error) => end(true, error),
    );
    return running;
  }

  function otel(ctx: CallContext, next: Handler): Promise<ToolResult> {
    const tracer = telemetry.tracer();
    const instruments = telemetry.instruments();
    if (tracer === undefined && instruments === undefined) return next(ctx);
    return observe(ctx, next, tracer, instruments);
  }
  return Object.assign(settings.mode === "native" ? otel : passing("otel"), { seat: "call-telemetry" } as const);
}
