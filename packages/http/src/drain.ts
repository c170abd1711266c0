import { type Runtime, startTimer } from "@mcp-tx/core";
import { Refusal, type RefusalDetails } from "./refusal.js";

/** A call under way. */
export interface OpenCall {
  /** Aborts when the client goes, or when closing takes too long. */
  readonly signal: AbortSignal;
  /** Ends it, because its client has gone. */
  abort(): void;
  /** Says that it is over, answer included. */
  end(): void;
}

/** What a call is told that comes too late. A client must not keep its connection to a server that refuses everything. */
export const DRAINING: RefusalDetails = { execution: "not-executed", headers: { connection: "close" } };

/** Milliseconds that aborted calls get to say how they ended. */
const LAST_WORDS_MS = 1000;

/** The calls under way, and whether there may be more. */
export class OpenCalls {
  readonly #runtime: Runtime;
  readonly #open = new Set<AbortController>();
  #closing: Promise<void> | undefined;
  #whenEmpty: () => void = () => undefined;

  constructor(runtime: Runtime) {
    this.#runtime = runtime;
  }

  get isClosing(): boolean {
    return this.#closing !== undefined;
  }

  /** @throws Refusal while closing */
  begin(clientSignal: AbortSignal): OpenCall {
    if (this.isClosing) throw new Refusal("draining", DRAINING);
    const controller = new AbortController();
    const abort = (): void => controller.abort(new DOMException("The client has gone", "AbortError"));
    clientSignal.addEventListener("abort", abort, { once: true });
    if (clientSignal.aborted) abort();
    this.#open.add(controller);
    const end = (): void => {
      clientSignal.removeEventListener("abort", abort);
      this.#open.delete(controller);
      if (this.#open.size === 0) this.#whenEmpty();
    };
    return { signal: controller.signal, abort, end };
  }

  close(graceMs: number): Promise<void> {
    this.#closing ??= this.#close(graceMs);
    return this.#closing;
  }

  async #close(graceMs: number): Promise<void> {
    if (await this.#emptyWithin(graceMs)) return;
    for (const controller of this.#open)
      controller.abort(new DOMException("The server is shutting down", "AbortError"));
    await this.#emptyWithin(LAST_WORDS_MS);
  }

  #emptyWithin(ms: number): Promise<boolean> {
    if (this.#open.size === 0) return Promise.resolve(true);
    return new Promise((resolve) => {
      const cancelTimer = startTimer(this.#runtime, ms, () => resolve(false));
      this.#whenEmpty = () => {
        cancelTimer();
        resolve(true);
      };
    });
  }
}
