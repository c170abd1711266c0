import { type CallContext, type Caller, type CallOptions, middlewareOf, type ToolResult } from "@mcp-tx/core";
import { answerText } from "./answer.js";
import { refusalOf } from "./failure.js";
import { passageOf, scopedKey } from "./principal.js";
import { Refusal } from "./refusal.js";

/** One call, all checks behind it. */
export interface Task {
  readonly caller: Caller;
  readonly tool: string;
  readonly args: Readonly<Record<string, unknown>>;
  readonly key: string | undefined;
  readonly principal: string | undefined;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
  readonly requestId: string;
  readonly redacts: boolean;
  /** Whether the handler is closing, at the time of the question. */
  readonly isClosing: () => boolean;
  readonly onprogress?: ((progress: unknown) => void) | undefined;
}

/** How a call ended. */
export interface Ended {
  /** The body of the answer, or why there is none. */
  readonly outcome: { readonly text: string } | { readonly refusal: Refusal };
  /** With which the pipeline was entered. */
  readonly context: CallContext | undefined;
}

/** Callers of which it is known that they run per-call middlewares before they send anything. */
const ours = new WeakSet<Caller>();

function isOurs(caller: Caller): boolean {
  return ours.has(caller) || middlewareOf(caller) !== undefined;
}

/** `onprogress` is the SDKs' option: callers of their clients pass it on. */
type ProgressOptions = CallOptions & { readonly onprogress?: ((progress: unknown) => void) | undefined };

async function optionsOf(task: Task, middleware: CallOptions["middleware"]): Promise<ProgressOptions> {
  const { key, principal, timeoutMs, signal, onprogress } = task;
  return {
    signal,
    timeoutMs,
    middleware,
    ...(key !== undefined && { idempotencyKey: await scopedKey(principal, key) }),
    ...(onprogress !== undefined && { onprogress }),
  };
}

function checkResult(result: ToolResult): ToolResult {
  if (typeof result === "object" && result !== null) return result;
  throw new TypeError("createHttpHandler: caller must give a result, an object");
}

/** Makes the call. Never rejects. */
export async function execute(task: Task): Promise<Ended> {
  const { caller, tool, args, requestId } = task;
  const passage = passageOf(task.principal, () => ours.add(caller));
  try {
    const options = await optionsOf(task, passage.middleware);
    const result = checkResult(await caller.call(tool, args, options));
    return { outcome: { text: answerText(result, requestId, task.redacts) }, context: passage.context };
  } catch (error) {
    if (Refusal.isInstance(error)) return { outcome: { refusal: error }, context: passage.context };
    const refusal = refusalOf(error, {
      wasEntered: passage.context !== undefined,
      isOurs: isOurs(caller),
      hasKey: task.key !== undefined,
      isClosing: task.isClosing(),
      requestId,
    });
    return { outcome: { refusal }, context: passage.context };
  }
}
