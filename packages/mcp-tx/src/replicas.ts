import { type CircuitBreaker, circuitBreaker } from "@mcp-tx/circuit-breaker";
import {
  type CallContext,
  type ClientLike,
  type Handler,
  type ListToolsOptions,
  type Middleware,
  type ToolInfo,
  type ToolResult,
  withInnermost,
} from "@mcp-tx/core";
import { number, readOptions } from "@mcp-tx/core/options";
import type { ConnectionState } from "./health.js";
import type { CloseOptions } from "./reliable-types.js";
import { pickReplica, type Replica } from "./replicas-pick.js";
import { createSession } from "./session.js";
import type { SdkClient } from "./session-link.js";
import type { ReplicasSource, Session, SessionOptions } from "./types.js";

/** Options of {@link createReplicas}: those of each session, but for `connect`. */
export interface ReplicasOptions extends ReplicasSource, Omit<SessionOptions, "connect"> {
  /**
   * Whether a call of which an attempt was sent to one replica may be sent to another. The replay gate stands in any case.
   * @defaultValue true: where any replica will do, none keeps what another does not know
   */
  readonly replayAcrossSessions?: SessionOptions["replayAcrossSessions"];
}

/** Sessions to several servers that are the same to a caller; used like one session. */
export interface ReplicaSet extends Session {
  /** The circuit of each replica, in the order of the replicas. */
  readonly breakers: readonly CircuitBreaker[];
}

/** Whether the failure is proof that nothing ran here, and one that another replica may not have. */
function mayFailOver(ctx: CallContext, error: unknown, before: number): boolean {
  const { call } = ctx;
  if (call.signal?.aborted === true || ctx.signal?.aborted === true) return false;
  const { execution, status, transient, code } = call.outcomeOf(error, true);
  if (status === "cancelled" || code === "deadline") return false;
  if (execution !== "not-executed" || !(transient || status === "throttled")) return false;
  // What this attempt itself sent must be known not to have run; what earlier ones sent the replay gate has judged.
  return call.attempts
    .slice(before)
    .every(({ handedOver, outcome }) => (outcome === undefined ? !handedOver : outcome.execution === "not-executed"));
}

class Replicas implements ReplicaSet {
  readonly client: ClientLike;
  readonly middleware: Middleware;
  readonly breakers: readonly CircuitBreaker[];
  readonly #replicas: readonly Replica[];
  /** Where the attempt goes that is dispatched now; afterwards, where the last one went. */
  #present: Replica;
  #uses = 0;

  constructor(replicas: readonly [Replica, ...Replica[]]) {
    this.#replicas = replicas;
    [this.#present] = replicas;
    this.breakers = replicas.map(({ breaker }) => breaker);
    this.client = this.#facade();
    const failover = (ctx: CallContext, next: Handler): Promise<ToolResult> => this.#run(ctx, next);
    this.middleware = failover;
  }

  get state(): ConnectionState {
    const states = this.#replicas.map(({ session }) => session.state);
    const order: readonly ConnectionState[] = ["connected", "connecting", "waiting", "idle"];
    return order.find((state) => states.includes(state)) ?? "closed";
  }

  async tools(options?: ListToolsOptions): Promise<readonly ToolInfo[]> {
    const tried = new Set<Replica>();
    let last: unknown;
    for (let replica = this.#pick(tried); replica !== undefined; replica = this.#pick(tried)) {
      tried.add(replica);
      try {
        return await replica.session.tools(options);
      } catch (error) {
        options?.signal?.throwIfAborted();
        last = error;
      }
    }
    throw last;
  }

  async close(options?: CloseOptions): Promise<void> {
    readOptions("close", options, { graceMs: number({ min: 0, infinite: true }, undefined) });
    const ends = await Promise.allSettled(this.#replicas.map(({ session }) => session.close(options)));
    for (const end of ends) if (end.status === "rejected") throw end.reason;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #pick(tried: ReadonlySet<Replica>, ctx?: CallContext): Replica | undefined {
    return pickReplica(this.#replicas, tried, ctx?.call);
  }

  /** One attempt of a call: at one replica after the other, as long as it is certain that nothing has run. */
  async #run(ctx: CallContext, next: Handler): Promise<ToolResult> {
    const tried = new Set<Replica>();
    const before = ctx.call.attempts.length;
    for (;;) {
      // There is one to begin with, and each time it is known that another is left.
      const replica = this.#pick(tried, ctx) as Replica;
      tried.add(replica);
      try {
        return await this.#via(replica, ctx, next);
      } catch (error) {
        if (tried.size === this.#replicas.length || !mayFailOver(ctx, error, before)) throw error;
      }
    }
  }

  async #via(replica: Replica, ctx: CallContext, next: Handler): Promise<ToolResult> {
    // Last of all, so that nothing comes between this and the dispatch.
    const point: Middleware = (inner, dispatch) => {
      this.#present = replica;
      return dispatch(inner);
    };
    replica.pending += 1;
    this.#uses += 1;
    replica.lastUsed = this.#uses;
    try {
      return await replica.breaker(withInnermost(ctx, point), (inner) => replica.session.middleware(inner, next));
    } finally {
      replica.pending -= 1;
    }
  }

  /** One client before those of all replicas; see `sessionClient`. */
  #facade(): ClientLike {
    const present = (): SdkClient => this.#present.session.client as ClientLike as SdkClient;
    return {
      get transport(): unknown {
        return present().transport;
      },
      getProtocolEra: (): unknown => present().getProtocolEra?.(),
      getServerCapabilities: (): unknown => present().getServerCapabilities?.(),
      getServerVersion: (): unknown => present().getServerVersion?.(),
      callTool: (...args: readonly unknown[]): Promise<unknown> => present().callTool(...args),
      request: (...args: [unknown, unknown, unknown?]): Promise<unknown> =>
        present().request?.(...args) ?? Promise.reject(new TypeError("The client has no request method")),
    } as ClientLike;
  }
}

function replicaOf({ replicas: _, name, ...options }: ReplicasOptions, source: unknown, index: number): Replica {
  const { connect } = (source ?? {}) as Partial<SessionOptions>;
  if (typeof connect !== "function") {
    throw new TypeError(`createReplicas: replicas[${index}] must be an object { connect }`);
  }
  const session = createSession({
    replayAcrossSessions: true,
    ...options,
    ...(name !== undefined && { name }),
    connect,
  });
  return { session, breaker: circuitBreaker({ key: () => `${name ?? "replica"}#${index}` }), pending: 0, lastUsed: 0 };
}

/**
 * Sessions to several servers that are the same to a caller. Each attempt of a call goes to a healthy one, the one with the fewest calls
 * under way; a connected one before one that has to be waited for.
 *
 * @remarks
 * An attempt that failed and certainly ran nothing (no connection, an open circuit, 429, an expired session) goes on to the next replica at
 * once: one call, one report, one deadline. Where nobody knows whether it ran, it ends; `retry` may then ask the replay gate, which lets it go to
 * another replica for a read-only tool of a trusted server, or when the replicas announce the same idempotency store.
 *
 * @throws TypeError or RangeError naming the option
 */
export function createReplicas(options: ReplicasOptions): ReplicaSet {
  const sources: unknown = options?.replicas;
  if (!Array.isArray(sources) || sources.length === 0) {
    throw new TypeError("createReplicas: replicas must be an array of at least one { connect }");
  }
  const [first, ...rest] = sources.map((source, index) => replicaOf(options, source, index));
  return new Replicas([first as Replica, ...rest]);
}
