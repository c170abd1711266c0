import { McpTxError } from "@mcp-tx/core";
import type { CircuitState } from "./circuit.js";

const UNTIL: Readonly<Record<CircuitState, string>> = {
  open: "too many of its calls failed. Do not call it again",
  "half-open": "after many failures it is being tried with other calls. Do not call it again before those are over",
  closed: "after many failures its calls are let through one by one. Call it again a little later",
  isolated: "it is switched off by an operator. Do not call it again until it is switched on",
};

/** The circuit of a tool does not let the call through: it was not sent. */
export class CircuitOpenError extends McpTxError {
  override readonly name = "CircuitOpenError";
  /** The state of the circuit; `"closed"` when it closed a short while ago and lets calls through gradually (`ramp`). */
  readonly state: CircuitState;

  constructor(
    tool: string,
    init: { readonly state?: CircuitState | undefined; readonly retryAfterMs?: number | undefined } = {},
  ) {
    const { state = "open", retryAfterMs } = init;
    const when = retryAfterMs === undefined ? "" : ` for ${Math.ceil(retryAfterMs)} ms`;
    super(`Tool "${tool}" was not called: ${UNTIL[state]}${when}.`, "circuit_open", {
      outcome: {
        status: "rejected",
        execution: "not-executed",
        transient: state !== "isolated",
        retryAfterMs,
        // Here already: the base class completing it costs more than all the rest.
        code: "circuit_open",
      },
    });
    this.state = state;
  }
  static override isInstance(value: unknown): value is CircuitOpenError {
    return McpTxError.isInstance(value) && value.code === "circuit_open";
  }
}
