import {
  type CallContext,
  type Handler,
  McpTxError,
  type Middleware,
  type Runtime,
  startTimer,
  type ToolResult,
} from "@mcp-tx/core";

function closedError(tool: string): McpTxError {
  return new McpTxError(`Tool "${tool}" was not called: the connection to its server was closed.`, "transport_error", {
    outcome: { status: "rejected", execution: "not-executed", transient: false },
  });
}

/** Counts the calls under way, so that a pipeline can be closed when they are done. */
export class Drain {
  /** Outside of everything: a call that waits to be repeated is under way. */
  readonly middleware: Middleware;
  #inFlight = 0;
  #isClosed = false;
  #onIdle: (() => void) | undefined;

  constructor() {
    const leave = (): void => this.#leave();
    const enter = (ctx: CallContext, next: Handler): Promise<ToolResult> => this.#enter(ctx, next, leave);
    this.middleware = enter;
  }

  /** Calls that have not ended. */
  get inFlight(): number {
    return this.#inFlight;
  }

  /** Whether new calls are refused. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  /**
   * Refuses new calls and waits for those under way.
   *
   * @param graceMs - how long it waits at most
   */
  close(graceMs: number, runtime: Runtime): Promise<void> {
    this.#isClosed = true;
    if (this.#inFlight === 0 || graceMs === 0) return Promise.resolve();
    return new Promise((resolve) => {
      const cancel = graceMs === Infinity ? undefined : startTimer(runtime, graceMs, resolve);
      this.#onIdle = () => {
        cancel?.();
        resolve();
      };
    });
  }

  #enter(ctx: CallContext, next: Handler, leave: () => void): Promise<ToolResult> {
    if (this.#isClosed) return Promise.reject(closedError(ctx.tool));
    this.#inFlight += 1;
    let running: Promise<ToolResult>;
    try {
      running = Promise.resolve(next(ctx));
    } catch (error) {
      running = Promise.reject(error);
    }
    running.then(leave, leave);
    return running;
  }

  #leave(): void {
    this.#inFlight -= 1;
    if (this.#inFlight === 0) this.#onIdle?.();
  }
}
