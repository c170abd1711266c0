import { type Runtime, startTimer } from "@mcp-tx/core";
import { type Backoff, type BackoffOptions, backoff } from "@mcp-tx/retry";
import type { ConnectionState } from "./health.js";
import { ConnectTry, closeQuietly } from "./session-connect.js";
import { SessionClosed, WaitOver } from "./session-errors.js";
import { Link, type LinkOwner } from "./session-link.js";
import { type Patience, waitFor } from "./session-wait.js";
import type { Connect, LossReason, SessionEvent } from "./types.js";

/** What a connector needs. */
export interface ConnectorSpec {
  readonly connect: Connect;
  readonly connectTimeoutMs: number;
  readonly reconnect: BackoffOptions;
  readonly runtime: Runtime;
  readonly name: string | undefined;
  readonly emit: (event: SessionEvent) => void;
}

/** Everything that goes on until there is a connection or a failure, shared by all who wait for it. */
interface Flight {
  readonly link: Promise<Link>;
  settle(link: Link): void;
  fail(error: unknown): void;
  waiting: number;
  isConnecting: boolean;
  /** Ends the present step: a sleep, or a try. */
  cancel: (() => void) | undefined;
  isOver: boolean;
}

function newFlight(): Flight {
  let settle: (link: Link) => void = () => undefined;
  let fail: (error: unknown) => void = () => undefined;
  const link = new Promise<Link>((resolve, reject) => {
    settle = resolve;
    fail = reject;
  });
  // All who waited may have gone.
  link.catch(() => undefined);
  return { link, settle, fail, waiting: 0, isConnecting: false, cancel: undefined, isOver: false };
}

/** Makes connections, one at a time, for whoever needs one; waits longer and longer between those that fail. */
export class Connector implements LinkOwner {
  readonly #spec: ConnectorSpec;
  readonly #backoff: Backoff;
  /** Those that are not closed yet: the present one, and lost ones with calls under way. */
  readonly #links = new Set<Link>();
  #link: Link | undefined;
  #flight: Flight | undefined;
  /** A try that nobody waits for, but that has not ended. */
  #lingering: ConnectTry | undefined;
  #count = 0;
  #failures = 0;
  #notBefore = -Infinity;
  #isClosed = false;

  constructor(spec: ConnectorSpec) {
    this.#spec = spec;
    this.#backoff = backoff(spec.reconnect, () => spec.runtime.random());
  }

  /** The present connection, or the last one. */
  get link(): Link | undefined {
    return this.#link;
  }

  /** The present connection, if it is good. */
  get alive(): Link | undefined {
    return !this.#isClosed && this.#link?.isAlive === true ? this.#link : undefined;
  }

  get links(): ReadonlySet<Link> {
    return this.#links;
  }

  get state(): ConnectionState {
    if (this.#isClosed) return "closed";
    if (this.alive !== undefined) return "connected";
    if (this.#flight?.isConnecting === true) return "connecting";
    return this.#flight !== undefined || this.#failures > 0 ? "waiting" : "idle";
  }

  /**
   * A connection: the present one or the next.
   *
   * @throws ConnectFailure, SessionClosed, WaitOver, or the signal's reason
   */
  async acquire(patience: Patience): Promise<Link> {
    if (this.#isClosed) throw new SessionClosed();
    const alive = this.alive;
    if (alive !== undefined) return alive;
    const { runtime } = this.#spec;
    patience.signal?.throwIfAborted();
    const now = runtime.now();
    const delayMs = this.#notBefore - now;
    if (patience.deadline <= now) throw new WaitOver();
    // Waiting past the deadline helps nobody.
    if (delayMs > 0 && now + delayMs >= patience.deadline) throw new WaitOver(delayMs);
    const flight = this.#flight ?? this.#begin();
    flight.waiting += 1;
    try {
      return await waitFor(flight.link, patience, runtime, () => new WaitOver());
    } finally {
      flight.waiting -= 1;
      if (flight.waiting === 0 && !flight.isOver) this.#abandon(flight);
    }
  }

  /** Refuses everybody, those who wait included. The links stay as they are. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    const flight = this.#flight;
    if (flight !== undefined) {
      this.#over(flight);
      flight.cancel?.();
      flight.fail(new SessionClosed());
    }
    this.#lingering?.stop(new SessionClosed());
    this.#lingering = undefined;
  }

  lost(link: Link, reason: LossReason): void {
    const { name, runtime, reconnect, emit } = this.#spec;
    const lived = runtime.now() - link.connectedAt;
    // A server that dies as soon as it is started must not be started as fast as it dies.
    if (link.hasAnswered || lived >= reconnect.maxDelayMs) this.#succeed();
    else this.#fail();
    emit({ type: "lost", name, session: link.number, reason });
  }

  gone(link: Link): void {
    this.#links.delete(link);
  }

  #succeed(): void {
    this.#failures = 0;
    this.#notBefore = -Infinity;
  }

  #fail(): number {
    this.#failures += 1;
    const delayMs = this.#backoff(this.#failures);
    this.#notBefore = this.#spec.runtime.now() + delayMs;
    return delayMs;
  }

  #begin(): Flight {
    const flight = newFlight();
    this.#flight = flight;
    this.#run(flight).catch((error) => {
      // Only what a runtime of the user's own throws comes here.
      this.#over(flight);
      flight.fail(error);
    });
    return flight;
  }

  #over(flight: Flight): void {
    flight.isOver = true;
    if (this.#flight === flight) this.#flight = undefined;
  }

  #abandon(flight: Flight): void {
    this.#over(flight);
    flight.cancel?.();
  }

  async #run(flight: Flight): Promise<void> {
    await this.#lingering?.ended;
    if (flight.isOver) return;
    this.#lingering = undefined;
    await this.#sleep(flight);
    if (flight.isOver) return;
    const { connect, connectTimeoutMs, runtime, name, emit } = this.#spec;
    flight.isConnecting = true;
    emit({ type: "connecting", name, failures: this.#failures });
    if (flight.isOver) return;
    const attempt = new ConnectTry(connect, connectTimeoutMs, runtime);
    flight.cancel = () => {
      this.#lingering = attempt;
      if (this.#isClosed) attempt.stop(new SessionClosed());
      else attempt.abandon(new Error("Nobody waits for the connection any more"));
    };
    try {
      const client = await attempt.client;
      // Given up in the very moment in which it came.
      if (flight.isOver) return closeQuietly(client);
      this.#count += 1;
      this.#adopt(flight, new Link(client, this.#count, runtime.now(), this));
    } catch (error) {
      if (flight.isOver) return;
      this.#over(flight);
      const delayMs = this.#fail();
      emit({ type: "connect_failed", name, failures: this.#failures, delayMs, error: causeOf(error) });
      flight.fail(error);
    }
  }

  #adopt(flight: Flight, link: Link): void {
    this.#link = link;
    this.#links.add(link);
    this.#over(flight);
    this.#spec.emit({ type: "connected", name: this.#spec.name, session: link.number });
    flight.settle(link);
  }

  /** Waits until the next try may begin. */
  #sleep(flight: Flight): Promise<void> {
    const { runtime } = this.#spec;
    const delayMs = this.#notBefore - runtime.now();
    if (!(delayMs > 0)) return Promise.resolve();
    return new Promise((resolve) => {
      const cancelTimer = startTimer(runtime, delayMs, resolve);
      flight.cancel = () => {
        cancelTimer();
        resolve();
      };
    });
  }
}

function causeOf(error: unknown): unknown {
  return error instanceof Error && error.cause !== undefined ? error.cause : error;
}
