// Checked by the compiler alone, against the declarations that users get; nothing here runs.
import {
  type CallOptions,
  type CallReport,
  createKey,
  type Key,
  type Middleware,
  reportOf,
  type ToolResult,
  type WrappedClient,
  type WrappedTool,
  wrapClient,
  wrapTool,
  wrapTransport,
} from "@mcp-tx/core";
import { retry } from "@mcp-tx/retry";
import type { Client as ClientV2, Transport as TransportV2 } from "@modelcontextprotocol/client";
import type { Client as ClientV1 } from "@modelcontextprotocol/sdk/client/index.js";
import type { Transport as TransportV1 } from "@modelcontextprotocol/sdk/shared/transport.js";

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;

/** Compiles only where `T` is `true`. */
export function holds<T extends true>(): T | undefined {
  return undefined;
}

/** Places where a client of v1 is expected. */
export class HostV1 {
  constructor(readonly client: ClientV1) {}
  static of(clients: readonly ClientV1[]): readonly HostV1[] {
    return clients.map((client) => new HostV1(client));
  }
}

/** Places where a client of v2 is expected. */
export class HostV2 {
  constructor(readonly client: ClientV2) {}
  static of(clients: readonly ClientV2[]): readonly HostV2[] {
    return clients.map((client) => new HostV2(client));
  }
}

export async function wrappedV1Fits(bare: ClientV1): Promise<void> {
  const wrapped = wrapClient(bare, [retry()]);
  HostV1.of([wrapped, new HostV1(wrapped).client]);
  const again: ClientV1 = wrapClient(wrapped, []);
  await again.close();

  const result = await wrapped.callTool({ name: "act", arguments: { a: 1 } });
  holds<Equal<typeof result, Awaited<ReturnType<ClientV1["callTool"]>>>>();
  const tools = await wrapped.listTools();
  holds<Equal<typeof tools, Awaited<ReturnType<ClientV1["listTools"]>>>>();
  const report: CallReport | undefined = reportOf(result);
  await wrapped.callTool({ name: "act" }, undefined, { timeout: 5, resetTimeoutOnProgress: true, task: { ttl: 1 } });
  await wrapped.callTool({ name: "act" }, undefined, { timeoutMs: 5, attemptTimeoutMs: 1, idempotencyKey: "k" });
  await wrapped.callTool({ name: "act" }, undefined, { timeout: 5, transactionId: report?.requestId, retry: false });
  await wrapped.callTool({ name: "act" }, undefined, { retry: { maxAttempts: 2, replay: "never" } });
  await wrapped.call("act", { a: 1 }, { retry: false });
  // @ts-expect-error an option that nobody knows
  await wrapped.callTool({ name: "act" }, undefined, { timeuot: 5 });
  // @ts-expect-error an option of ours with a wrong value
  await wrapped.callTool({ name: "act" }, undefined, { retry: { maxAttempts: "2" } });
  // @ts-expect-error options in the place of the result schema
  await wrapped.callTool({ name: "act" }, { timeoutMs: 5 });
  // @ts-expect-error an option of the SDK with a wrong value
  await wrapped.callTool({ name: "act" }, undefined, { timeout: "5" });
}

export async function wrappedV2Fits(bare: ClientV2): Promise<void> {
  const wrapped = wrapClient(bare, [retry()]);
  HostV2.of([wrapped, new HostV2(wrapped).client]);
  const again: ClientV2 = wrapClient(wrapped, []);
  await again.close();

  const result = await wrapped.callTool({ name: "act", arguments: { a: 1 } });
  holds<Equal<typeof result, Awaited<ReturnType<ClientV2["callTool"]>>>>();
  const fromCall = await wrapped.call("act");
  holds<Equal<typeof fromCall, typeof result>>();
  const value = await wrapped.invoke<{ readonly count: number }>("act");
  holds<Equal<typeof value, { readonly count: number }>>();
  await wrapped.callTool({ name: "act" }, { timeout: 5, allowInputRequired: true, headers: { a: "b" } });
  await wrapped.callTool({ name: "act" }, { timeoutMs: 5, attemptTimeoutMs: 1, idempotencyKey: "k" });
  await wrapped.callTool({ name: "act" }, { timeout: 5, transactionId: "t", retry: { maxAttempts: 2 } });
  // @ts-expect-error an option that nobody knows
  await wrapped.callTool({ name: "act" }, { timeuot: 5 });
  // @ts-expect-error an option of ours with a wrong value
  await wrapped.callTool({ name: "act" }, { timeoutMs: "5" });
  // @ts-expect-error a tool without a name
  await wrapped.callTool({ arguments: {} });
}

export function wrappedTransportsFit(v1: TransportV1, v2: TransportV2): readonly [TransportV1, TransportV2] {
  return [wrapTransport(v1, []), wrapTransport(v2, [])];
}

/** Under `exactOptionalPropertyTypes`: whatever may be left out may be `undefined`. */
export async function undefinedIsAbsent(
  bare: ClientV2,
  verify: undefined,
  signal: AbortSignal | undefined,
): Promise<void> {
  const options: CallOptions = { signal, idempotencyKey: undefined, timeoutMs: undefined, retry: undefined };
  const layers = [retry({ maxAttempts: undefined, budget: undefined, retryOn: undefined, replay: undefined })];
  const wrapped = wrapClient(bare, layers, {
    runtime: undefined,
    peer: undefined,
    classifiers: undefined,
    trustAnnotations: undefined,
    verify,
    timeoutMs: undefined,
    attemptTimeoutMs: undefined,
    onReport: undefined,
    onEvent: undefined,
  });
  await wrapped.callTool({ name: "act" }, options);
  await wrapped.call("act", undefined, options);
  await wrapped.invoke("act", {}, { ...options, output: undefined });
}

// Under `isolatedDeclarations` every export needs a type that can be written down.
export declare const bareV1: ClientV1;
export declare const bareV2: ClientV2;
export const annotatedV1: WrappedClient<ClientV1> = wrapClient(bareV1, []);
export const annotatedV2: WrappedClient<ClientV2> = wrapClient(bareV2, []);
export const annotatedTool: WrappedTool<{ readonly sku: string }, number> = wrapTool(
  "stock",
  (args: { readonly sku: string }) => args.sku.length,
  [],
);
export const annotatedKey: Key<number> = createKey("example.count");
export const annotatedMiddleware: Middleware = (ctx, next): Promise<ToolResult> => {
  const count: number | undefined = ctx.call.get(annotatedKey);
  ctx.call.set(annotatedKey, (count ?? 0) + 1);
  // @ts-expect-error a key knows the type of its value
  ctx.call.set(annotatedKey, "one");
  return next(ctx);
};
