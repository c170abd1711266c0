import { type ClientLike, type Runtime, startTimer } from "@mcp-tx/core";
import { ConnectFailure } from "./session-errors.js";
import { connectedClient, type SdkClient } from "./session-link.js";
import type { Connect } from "./types.js";

/** Closes a client that nobody is going to use. */
export function closeQuietly(client: object): void {
  const { close } = client as { close?: () => unknown };
  // Nobody is there any more who could do something about it.
  if (typeof close === "function")
    Promise.resolve()
      .then(() => close.call(client))
      .catch(() => undefined);
}

/** One try to connect: ends in time, whatever `connect` does, and closes a client that comes too late. */
export class ConnectTry {
  /** Settles once; rejects with a {@link ConnectFailure}, or never after {@link ConnectTry.abandon}. */
  readonly client: Promise<SdkClient>;
  /** Resolves when `connect` has settled or its time is over: only then may the next try begin. */
  readonly ended: Promise<void>;
  readonly #controller = new AbortController();
  readonly #cancelTimer: () => void;
  #isOver = false;
  #end: () => void = () => undefined;

  constructor(connect: Connect, connectTimeoutMs: number, runtime: Runtime) {
    this.ended = new Promise((resolve) => {
      this.#end = resolve;
    });
    let expire: () => void = () => undefined;
    this.#cancelTimer = startTimer(runtime, connectTimeoutMs, () => expire());
    this.client = new Promise((resolve, reject) => {
      expire = () => {
        reject(new ConnectFailure(`No connection within connectTimeoutMs (${connectTimeoutMs} ms)`, true));
        this.abandon(new Error(`connectTimeoutMs (${connectTimeoutMs} ms) is over`));
        this.#finish();
      };
      this.#start(connect).then(
        (given) => this.#take(given, resolve, reject),
        (error) => {
          this.#finish();
          if (!this.#isOver) reject(new ConnectFailure("connect failed", true, error));
          this.#isOver = true;
        },
      );
    });
    // Whoever began the try may have gone.
    this.client.catch(() => undefined);
  }

  /** Nobody wants the client any more. */
  abandon(reason: Error): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#controller.abort(reason);
  }

  /** As {@link ConnectTry.abandon}, and nobody comes after. */
  stop(reason: Error): void {
    this.abandon(reason);
    this.#finish();
  }

  #finish(): void {
    this.#cancelTimer();
    this.#end();
  }

  async #start(connect: Connect): Promise<ClientLike> {
    return connect({ signal: this.#controller.signal });
  }

  #take(given: ClientLike, resolve: (client: SdkClient) => void, reject: (error: unknown) => void): void {
    this.#finish();
    if (this.#isOver) {
      closeQuietly(given ?? {});
      return;
    }
    this.#isOver = true;
    const client = connectedClient(given);
    if (client instanceof ConnectFailure) reject(client);
    else resolve(client);
  }
}
