import {
  ANNOUNCEMENT_KEY,
  type CallContext,
  type Caller,
  type Middleware,
  type ToolResult,
  type Verification,
  type VerifyQuestion,
  type WrapOptions,
  wrapClient,
} from "@mcp-tx/core";
import { announcingServer, type VirtualTime, virtualTime } from "@mcp-tx/core/testing";

type Args = Readonly<Record<string, unknown>>;

/** What a tool does: gives a value or throws. Beside its arguments it is told how often it has been run, from 1. */
export type WorldTool = (args: Args, run: number) => unknown;

/** The way of one call to the server and back, and what may happen on it. */
export type Wire = (tool: string, send: () => Promise<ToolResult>) => Promise<ToolResult>;

/** Options of {@link world}. */
export interface WorldOptions {
  /** What the tools do beyond being logged; one that is not named gives `{ did: name }`. */
  readonly tools?: Readonly<Record<string, WorldTool>> | undefined;
  readonly names: readonly string[];
  /** Whether the server keeps records by key and says so. */
  readonly announces?: boolean | undefined;
  /** Whether callers can find out what became of a call. */
  readonly verifies?: boolean | undefined;
}

/** What belongs to one process. */
export interface ProcessOptions extends WrapOptions {
  readonly wire?: Wire | undefined;
  readonly middleware?: readonly Middleware[] | undefined;
}

/** One call that reached the end of a pipeline. */
export interface Seen {
  readonly tool: string;
  readonly key: string | undefined;
  readonly epoch: number;
}

/** Tools that outlive the processes that call them. */
export interface World {
  readonly time: VirtualTime;
  /** Names of the tools in the order in which they ran, by their own log. */
  readonly log: readonly string[];
  /** The arguments of each run, in the same order. */
  readonly args: readonly Args[];
  readonly seen: readonly Seen[];
  /** A caller as a process has it. */
  caller(options?: ProcessOptions): Caller<unknown>;
}

/** An answer that was lost: nobody knows what it said. */
export class LostAnswer extends Error {
  override readonly name = "LostAnswer";
}

/** Settles with the work, or as soon as the signal aborts: what the SDKs' clients do. */
function unlessAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return work;
  return new Promise((resolve, reject) => {
    const give = (): void => reject(signal.reason);
    if (signal.aborted) give();
    signal.addEventListener("abort", give, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", give));
  });
}

function answerOf(message: unknown): ToolResult {
  const { result, error } = message as { readonly result?: ToolResult; readonly error?: { readonly message: string } };
  if (result !== undefined) return result;
  throw Object.assign(new Error(error?.message), error);
}

/** Makes a server of plain functions. */
export function world({ names, tools = {}, announces = false, verifies = false }: WorldOptions): World {
  const time = virtualTime();
  const log: string[] = [];
  const args: Args[] = [];
  const seen: Seen[] = [];
  const last = new Map<string, ToolResult>();
  let requests = 0;

  async function run(name: string, given: Args): Promise<ToolResult> {
    log.push(name);
    args.push(given);
    const count = log.filter((other) => other === name).length;
    const result = await resultOf(name, given, count);
    last.set(name, result);
    return result;
  }
  async function resultOf(name: string, given: Args, count: number): Promise<ToolResult> {
    try {
      const tool = tools[name];
      const value = tool === undefined ? { did: name } : await tool(given, count);
      return { content: [], structuredContent: value };
    } catch (error) {
      return {
        content: [{ type: "text", text: error instanceof Error ? error.message : String(error) }],
        isError: true,
      };
    }
  }
  const server = announcingServer({
    announce: announces,
    windowMs: 1e9,
    durable: true,
    tools: Object.fromEntries(names.map((name) => [name, { run: (given) => run(name, given) }])),
  });
  const capabilities = announces
    ? {
        experimental: {
          [ANNOUNCEMENT_KEY]: { version: 1, idempotency: { storeId: server.storeId, windowMs: 1e9, durable: true } },
        },
      }
    : {};

  function verify({ tool }: CallContext, _question: VerifyQuestion): Verification {
    const result = last.get(tool);
    return result === undefined ? { execution: "not-executed" } : { execution: "executed", result };
  }
  function look(ctx: CallContext, next: (ctx: CallContext) => Promise<ToolResult>): Promise<ToolResult> {
    seen.push({ tool: ctx.tool, key: ctx.options.idempotencyKey, epoch: ctx.call.epoch });
    return next(ctx);
  }

  function caller({
    wire = (_tool, send) => send(),
    middleware = [],
    ...options
  }: ProcessOptions = {}): Caller<unknown> {
    const client = {
      getServerCapabilities: () => capabilities,
      async callTool(
        params: { readonly name: string },
        _schema?: unknown,
        given?: { readonly signal?: AbortSignal },
      ): Promise<ToolResult> {
        const send = async (): Promise<ToolResult> => {
          requests += 1;
          return answerOf(await server.handle({ jsonrpc: "2.0", id: requests, method: "tools/call", params }));
        };
        return unlessAborted(wire(params.name, send), given?.signal);
      },
    };
    const terms = { runtime: time.runtime, ...(verifies && { verify }), ...options };
    return wrapClient(client, [...middleware, look], terms);
  }
  return { time, log, args, seen, caller };
}

/** Never settles. */
export function never<T>(): Promise<T> {
  return new Promise(() => undefined);
}
