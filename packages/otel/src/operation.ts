import type { Call, CallContext, ToolResult } from "@mcp-tx/core";
import {
  type Attributes,
  type Context,
  type Link,
  type Span,
  type SpanKind,
  SpanStatusCode,
  type Tracer,
  trace,
} from "@opentelemetry/api";
import { type Ending, endingOf } from "./error-type.js";
import { quietly } from "./quietly.js";
import {
  ATTR_ERROR_TYPE,
  ATTR_MCP_METHOD_NAME,
  ATTR_MCP_PROTOCOL_VERSION,
  ATTR_MCP_SESSION_ID,
  ATTR_STATUS_CODE,
  ATTR_TOOL_ARGUMENTS,
  ATTR_TOOL_RESULT,
  META_PROTOCOL_VERSION,
  METHOD_TOOLS_CALL,
} from "./semconv.js";
import type { Telemetry } from "./telemetry.js";

/** What a span is to be. */
export interface OperationSpec {
  /** `tools/call` or `execute_tool`; the tool's name is added. */
  readonly verb: string;
  readonly kind: SpanKind;
  readonly parent: Context;
  readonly links?: Link[];
  readonly attributes: Attributes;
}

/** One span and what is known at its end. Without a tracer there is no span, and everything but the ending does nothing. */
export class Operation {
  readonly #telemetry: Telemetry;
  readonly #ctx: CallContext;
  readonly #span: Span | undefined;
  /** The context with the span in it. */
  readonly within: Context;
  /** Whether anybody will see the span: attributes are built only then. */
  readonly isRecording: boolean;

  constructor(telemetry: Telemetry, tracer: Tracer | undefined, ctx: CallContext, spec: OperationSpec) {
    this.#telemetry = telemetry;
    this.#ctx = ctx;
    let span: Span | undefined;
    let within = spec.parent;
    let isRecording = false;
    try {
      span = tracer?.startSpan(`${spec.verb} ${telemetry.names.of(ctx.tool)}`, spec, spec.parent);
      if (span !== undefined) within = trace.setSpan(spec.parent, span);
      isRecording = span?.isRecording() === true;
    } catch {
      // Then there is no span, or one that nobody sees.
    }
    this.#span = span;
    this.within = within;
    this.isRecording = isRecording;
    if (isRecording && telemetry.settings.capture.arguments) {
      this.#set(telemetry.captured(ATTR_TOOL_ARGUMENTS, ctx.tool, "arguments", ctx.args));
    }
  }

  #set(attributes: Attributes | undefined): void {
    if (attributes !== undefined) quietly(() => this.#span?.setAttributes(attributes));
  }

  setAttribute(name: string, value: string | number): void {
    if (!this.isRecording) return;
    try {
      this.#span?.setAttribute(name, value);
    } catch {
      // One attribute less.
    }
  }

  addEvent(name: string, attributes: Attributes): void {
    if (this.isRecording) quietly(() => this.#span?.addEvent(name, attributes));
  }

  /** Ends the span with what the operation returned or threw; a success leaves its status unset. */
  end(thrown: boolean, value: unknown): Ending {
    const ending = endingOf(this.#ctx.call, thrown, value);
    if (this.isRecording) {
      if (ending.errorType !== undefined) this.#fail(ending);
      if (!thrown && this.#telemetry.settings.capture.results) {
        this.#set(this.#telemetry.captured(ATTR_TOOL_RESULT, this.#ctx.tool, "result", value as ToolResult));
      }
    }
    try {
      this.#span?.end();
    } catch {
      // It is over all the same.
    }
    return ending;
  }

  #fail(ending: Ending): void {
    this.#set(endingAttributes(ending));
    // Without a description: it would have to be the text of an error.
    quietly(() => this.#span?.setStatus({ code: SpanStatusCode.ERROR }));
  }
}

/** What a span says about a request of the protocol, at either end; a new object, to be added to. */
export function requestAttributes(telemetry: Telemetry, ctx: CallContext): Attributes {
  const attributes = telemetry.attributesOf(ctx.tool);
  attributes[ATTR_MCP_METHOD_NAME] = METHOD_TOOLS_CALL;
  const session = sessionOf(ctx.call);
  if (session !== undefined) attributes[ATTR_MCP_SESSION_ID] = session;
  const version = ctx.meta[META_PROTOCOL_VERSION];
  if (typeof version === "string") attributes[ATTR_MCP_PROTOCOL_VERSION] = version;
  return attributes;
}

function sessionOf(call: Call): string | undefined {
  try {
    return call.peer.sessionId;
  } catch {
    return undefined;
  }
}

/** How an operation ended, for spans and metrics; nothing for a success. */
export function endingAttributes({ errorType, statusCode }: Ending): Attributes {
  return {
    ...(errorType !== undefined && { [ATTR_ERROR_TYPE]: errorType }),
    ...(statusCode !== undefined && { [ATTR_STATUS_CODE]: statusCode }),
  };
}

/** Attributes of a duration: those of the span that do not name the single request. */
export function durationAttributes(
  telemetry: Telemetry,
  ctx: CallContext,
  ending: Ending,
  method?: string,
): Attributes {
  const attributes = Object.assign(telemetry.attributesOf(telemetry.names.of(ctx.tool)), endingAttributes(ending));
  if (method !== undefined) attributes[ATTR_MCP_METHOD_NAME] = method;
  return attributes;
}
