import type { CallContext, Handler, Middleware, ToolResult } from "@mcp-tx/core";
import { type Context, type Link, SpanKind, trace } from "@opentelemetry/api";
import { listen } from "./call-events.js";
import { watchCircuits } from "./circuits.js";
import { durationAttributes, Operation, requestAttributes } from "./operation.js";
import { type OtelOptions, readSettings } from "./options.js";
import { passing } from "./passing.js";
import { quietly } from "./quietly.js";
import { METHOD_TOOLS_CALL } from "./semconv.js";
import { ambient, contextOf, keepContext, Telemetry } from "./telemetry.js";

/** The span that was active here, of HTTP as a rule, where the parent is another one. */
function linksTo(around: Context, parent: Context): Link[] {
  const here = trace.getSpanContext(around);
  if (here === undefined || here === trace.getSpanContext(parent) || !trace.isSpanContextValid(here)) return [];
  return [{ context: here }];
}

/**
 * Traces and measures requests on a server: one span `tools/call X` for each, below the client's span that `_meta` names, linked to
 * the ambient one. Without a context in `_meta` it stands below the ambient span.
 *
 * @throws TypeError or RangeError at construction, naming the option
 */
export function otelServer(options: OtelOptions = {}): Middleware {
  const settings = readSettings("otelServer", options);
  const telemetry = new Telemetry(settings);
  const circuits = watchCircuits(telemetry);

  function observe(ctx: CallContext, next: Handler): Promise<ToolResult> {
    const { call } = ctx;
    const instruments = telemetry.instruments();
    const around = ambient();
    const parent = telemetry.extract(ctx.meta, around);
    const operation = new Operation(telemetry, telemetry.tracer(), ctx, {
      verb: METHOD_TOOLS_CALL,
      kind: SpanKind.SERVER,
      parent,
      links: quietly(() => linksTo(around, parent)) ?? [],
      attributes: requestAttributes(telemetry, ctx),
    });
    // Under another span of the call the events are counted already.
    const counted = contextOf(call) === undefined ? instruments : undefined;
    keepContext(call, operation.within);
    const isSeen = operation.isRecording || instruments !== undefined;
    const mute = isSeen ? listen(call, { telemetry, operation, instruments: counted, circuits }) : undefined;
    const startedAt = instruments === undefined ? 0 : call.runtime.now();

    function end(thrown: boolean, value: unknown): void {
      mute?.();
      const ending = operation.end(thrown, value);
      if (instruments === undefined) return;
      const attributes = durationAttributes(telemetry, ctx, ending, METHOD_TOOLS_CALL);
      quietly(() => instruments.serverDuration.record((call.runtime.now() - startedAt) / 1000, attributes));
    }
    const running = telemetry.run(operation.within, ctx, next);
    running.then(
      (result) => end(false, result),
      (error) => end(true, error),
    );
    return running;
  }

  function otelServer(ctx: CallContext, next: Handler): Promise<ToolResult> {
    if (
      telemetry.tracer() === undefined &&
      telemetry.instruments() === undefined &&
      telemetry.propagator() === undefined
    )
      return next(ctx);
    return observe(ctx, next);
  }
  return Object.assign(settings.mode === "off" ? passing("otelServer") : otelServer, {
    seat: "call-telemetry",
  } as const);
}
