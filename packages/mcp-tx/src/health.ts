import type { CircuitBreaker, CircuitSnapshot } from "@mcp-tx/circuit-breaker";

/** What is known about one server's connection. */
export type ConnectionState = "idle" | "connecting" | "connected" | "waiting" | "closed";

/** A circuit that does not let all calls through. */
export interface CircuitHealth {
  /** The tool, where the circuit is that of one tool. */
  readonly tool?: string | undefined;
  readonly key: string;
  readonly state: Exclude<CircuitSnapshot["state"], "closed"> | "isolated";
  /** Milliseconds for which it stays open, where that is known. */
  readonly openForMs?: number | undefined;
}

/** How one server is doing. */
export interface ServerHealth {
  readonly status: Health["status"];
  readonly connection: ConnectionState;
  /** Calls that have not ended. */
  readonly inFlight: number;
  /** Circuits that are open, half-open or isolated; those that are not named are closed. */
  readonly circuits: readonly CircuitHealth[];
}

/** How all servers are doing. Plain data, for an HTTP route that gives `application/health+json` for instance. */
export interface Health {
  /**
   * `pass`: everything is as it should be. `warn`: some circuit is open, or a connection is being made anew. `fail`: closed, nothing
   * can be called any more. An open circuit is never `fail`: restarting this process would mend nothing.
   */
  readonly status: "pass" | "warn" | "fail";
  readonly servers: Readonly<Record<string, ServerHealth>>;
}

type Snapshots = readonly Pick<CircuitBreaker, "snapshot">[];

function circuitsOf(breakers: Snapshots): readonly CircuitHealth[] {
  return breakers.flatMap((breaker) => {
    const { circuits, isolated } = breaker.snapshot();
    const open = circuits.flatMap(({ state, tool, key, openForMs }): readonly CircuitHealth[] =>
      state === "closed" ? [] : [{ tool, key, state, openForMs }],
    );
    return [...open, ...isolated.map((key): CircuitHealth => ({ key, state: "isolated" }))];
  });
}

const OF_CONNECTION: { readonly [S in ConnectionState]: Health["status"] } = {
  // Nobody has called yet.
  idle: "pass",
  connecting: "pass",
  connected: "pass",
  waiting: "warn",
  closed: "fail",
};

/** The health of one server, from the state of its connection and of its circuits. */
export function serverHealth(connection: ConnectionState, inFlight: number, breakers: Snapshots): ServerHealth {
  const circuits = circuitsOf(breakers);
  const byConnection = OF_CONNECTION[connection];
  const status = byConnection === "pass" && circuits.length > 0 ? "warn" : byConnection;
  return { status, connection, inFlight, circuits };
}

/** The health of several servers: as long as one of them can be called, it is no failure of the whole. */
export function overallHealth(servers: Readonly<Record<string, ServerHealth>>): Health {
  const all = Object.values(servers);
  const isPass = all.every(({ status }) => status === "pass");
  const isFail = all.length > 0 && all.every(({ status }) => status === "fail");
  return { status: isPass ? "pass" : isFail ? "fail" : "warn", servers };
}
