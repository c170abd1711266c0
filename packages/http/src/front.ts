import type { Caller, ToolInfo } from "@mcp-tx/core";
import { type Asker, askerOf } from "./authorize.js";
import { type Body, readBody } from "./body.js";
import { type CallerSource, Connection } from "./connection.js";
import { DRAINING, type OpenCall, OpenCalls } from "./drain.js";
import { type Envelope, readEnvelope } from "./envelope.js";
import { type Ended, execute, type Task } from "./execute.js";
import { healthOf, liveness, readiness } from "./health.js";
import { offers } from "./offer.js";
import { openApiDocument } from "./openapi.js";
import type { Settings } from "./options.js";
import { jsonResponse, problemOf, problemResponse } from "./problem.js";
import type { Problem } from "./problem-codes.js";
import { breakersOf, limitsOf, rateLimitHeaders } from "./quota.js";
import { Refusal } from "./refusal.js";
import { Checks } from "./schema.js";
import { type LastEvent, prefersEvents, streamed } from "./stream.js";
import { toolPage } from "./tool-list.js";
import { Toolbox } from "./toolbox.js";
import type { RequestDetails, Route, ToolSettings } from "./types.js";
import { within } from "./waiting.js";

/** One request on its way. */
export interface Exchange {
  readonly request: Request;
  readonly given: RequestDetails | undefined;
  readonly route: Route;
  readonly requestId: string;
}

/** A call that may be made: everything about it is checked. */
interface Prepared {
  readonly caller: Caller;
  readonly principal: string | undefined;
  readonly envelope: Envelope;
  readonly args: Readonly<Record<string, unknown>>;
}

function unreachable(cause: unknown): Refusal {
  return Refusal.isInstance(cause) ? cause : new Refusal("transport_error", { execution: "not-executed", cause });
}

function tooLong(what: string): Error {
  return new Error(`createHttpHandler: ${what} took longer than connectTimeoutMs`);
}

/** What the routes do. What all of them have in common is in `create-handler.ts`. */
export class Front {
  readonly connection: Connection;
  readonly calls: OpenCalls;
  readonly #settings: Settings;
  readonly #toolbox: Toolbox;
  readonly #checks = new Checks();

  constructor(source: CallerSource, settings: Settings) {
    this.#settings = settings;
    this.connection = new Connection(source, settings);
    this.#toolbox = new Toolbox(settings);
    this.calls = new OpenCalls(settings.runtime);
  }

  /** @throws Refusal, or whatever somebody else's code throws */
  answer(exchange: Exchange): Promise<Response> | Response {
    switch (exchange.route) {
      case "execute-tool":
        return this.#executeTool(exchange);
      case "tools":
        return this.#listTools(exchange);
      case "openapi":
        return this.#describe(exchange);
      case "health":
        return this.#health();
      case "livez":
        return liveness();
      case "readyz":
        return readiness(this.calls.isClosing);
    }
  }

  /** The problem of a refusal; `onError` hears what is behind it. */
  told(refusal: Refusal, requestId: string, route: Route | undefined): Problem {
    const problem = problemOf(refusal, requestId);
    const { cause } = refusal.details;
    if (cause === undefined) return problem;
    const { onError } = this.#settings;
    // An observer changes no answer, whether it throws or rejects.
    const tell = async (): Promise<void> =>
      onError?.(cause, { requestId: problem.requestId, route, code: problem.code });
    tell().catch(() => undefined);
    return problem;
  }

  #settingsOf(tool: string): ToolSettings | undefined {
    return this.#settings.offer.settings?.get(tool);
  }

  /** Waits for somebody else's work, but not longer than the client, nor than `connectTimeoutMs`. @throws Refusal; what it throws */
  #bounded<T>(work: Promise<T>, { signal }: Request, late: () => Refusal): Promise<T> {
    const { runtime, connectTimeoutMs: ms } = this.#settings;
    const refusal = (isGone: boolean): Refusal =>
      isGone ? new Refusal("cancelled", { execution: "not-executed" }) : late();
    return within(work, { runtime, ms, signal, refusal });
  }

  /** Waits for the connection or the list of tools. @throws Refusal */
  async #reached<T>(work: Promise<T>, request: Request): Promise<T> {
    try {
      return await this.#bounded(work, request, () => unreachable(tooLong("the connection, or the list of tools")));
    } catch (error) {
      throw unreachable(error);
    }
  }

  #asker({ request, route, given }: Exchange): Promise<Asker> {
    const { authorize } = this.#settings;
    const work = askerOf(request, route, given, authorize);
    if (authorize === undefined) return work;
    return this.#bounded(work, request, () => new Refusal("internal_error", { cause: tooLong("authorize") }));
  }

  /** The tools that whoever asks may see. */
  async #offered(exchange: Exchange): Promise<readonly ToolInfo[]> {
    const { request } = exchange;
    const { may } = await this.#asker(exchange);
    const caller = await this.#reached(this.connection.get(), request);
    const tools = await this.#reached(this.#toolbox.list(caller), request);
    return tools.filter(({ name }) => may(name));
  }

  async #listTools(exchange: Exchange): Promise<Response> {
    const tools = await this.#offered(exchange);
    return jsonResponse(200, toolPage(tools, new URL(exchange.request.url).searchParams));
  }

  async #describe(exchange: Exchange): Promise<Response> {
    const { info, basePath, maxTimeoutMs, authorize } = this.#settings;
    const tools = await this.#offered(exchange);
    const inputOf = (tool: string): ToolSettings["input"] => this.#settingsOf(tool)?.input;
    const isProtected = authorize !== undefined;
    return jsonResponse(
      200,
      JSON.stringify(openApiDocument({ info, basePath, tools, inputOf, maxTimeoutMs, isProtected })),
    );
  }

  #health(): Promise<Response> {
    const { circuitBreakers, checks, connectTimeoutMs: timeoutMs, runtime } = this.#settings;
    const caller = this.connection.present;
    const breakers = caller === undefined ? (circuitBreakers ?? []) : breakersOf(caller, circuitBreakers);
    const { hasFailed } = this.connection;
    return healthOf({ isClosing: this.calls.isClosing, hasFailed, caller, breakers, checks, timeoutMs, runtime });
  }

  async #executeTool(exchange: Exchange): Promise<Response> {
    if (this.calls.isClosing) throw new Refusal("draining", DRAINING);
    const prepared = await this.#prepare(exchange);
    const call = this.calls.begin(exchange.request.signal);
    return prefersEvents(exchange.request.headers)
      ? this.#stream(exchange, prepared, call)
      : this.#answer(exchange, prepared, call);
  }

  /** Everything that can be refused before anything is sent. @throws Refusal */
  async #prepare(exchange: Exchange): Promise<Prepared> {
    const { request, given } = exchange;
    const { principal, may } = await this.#asker(exchange);
    const body = await readBody(request, given, this.#settings);
    const envelope = readEnvelope(body.value, request.headers);
    const isOffered = offers(this.#settings.offer, envelope.tool) && may(envelope.tool);
    if (!isOffered) throw new Refusal("tool_not_allowed");
    const caller = await this.#reached(this.connection.get(), request);
    const args = await this.#checkedArgs(caller, envelope, body, request);
    return { caller, principal, envelope, args };
  }

  async #checkedArgs(
    caller: Caller,
    { tool, args }: Envelope,
    { size }: Body,
    request: Request,
  ): Promise<Prepared["args"]> {
    const info = await this.#reached(this.#toolbox.find(caller, tool), request);
    if (info === undefined) throw new Refusal("tool_not_found");
    const { input } = this.#settingsOf(tool) ?? {};
    const checked = this.#checks.of(info, input)(args, size);
    const late = (): Refusal => new Refusal("unusable_schema", { cause: tooLong("input of a tool") });
    return checked instanceof Promise ? this.#bounded(checked, request, late) : checked;
  }

  #taskOf({ requestId }: Exchange, { caller, principal, envelope, args }: Prepared, { signal }: OpenCall): Task {
    const { maxTimeoutMs, redactsToolErrors: redacts } = this.#settings;
    const { tool, key, timeoutMs = Infinity } = envelope;
    const own = this.#settingsOf(tool)?.maxTimeoutMs ?? maxTimeoutMs;
    return {
      caller,
      tool,
      args,
      key,
      principal,
      timeoutMs: Math.min(timeoutMs, own),
      signal,
      requestId,
      redacts,
      isClosing: () => this.calls.isClosing,
    };
  }

  async #answer(exchange: Exchange, prepared: Prepared, call: OpenCall): Promise<Response> {
    try {
      const ended = await execute(this.#taskOf(exchange, prepared, call));
      return this.#responseOf(ended, exchange, prepared.caller);
    } finally {
      call.end();
    }
  }

  #responseOf({ outcome, context }: Ended, { requestId, route }: Exchange, caller: Caller): Response {
    const limits = rateLimitHeaders(limitsOf(caller, this.#settings.rateLimits), context);
    if ("text" in outcome) return jsonResponse(200, outcome.text, undefined, limits);
    const { refusal } = outcome;
    return problemResponse(this.told(refusal, requestId, route), { ...limits, ...refusal.details.headers });
  }

  #stream(exchange: Exchange, prepared: Prepared, call: OpenCall): Response {
    const { heartbeatMs, runtime } = this.#settings;
    const task = this.#taskOf(exchange, prepared, call);
    const run = async (onprogress: (progress: unknown) => void): Promise<LastEvent> => {
      const { outcome } = await execute({ ...task, onprogress }).finally(call.end);
      if ("text" in outcome) return { event: "result", data: outcome.text };
      const problem = this.told(outcome.refusal, exchange.requestId, exchange.route);
      return { event: "problem", data: JSON.stringify(problem) };
    };
    return streamed({ run, abort: call.abort, heartbeatMs, runtime });
  }
}
