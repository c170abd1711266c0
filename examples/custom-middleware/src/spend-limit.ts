import { type CallContext, createKey, type Handler, McpTxError, type Middleware, type ToolResult } from "@mcp-tx/core";
import { number, type OptionReader, readOptions } from "@mcp-tx/core/options";

/** Options of {@link spendLimit}. */
export interface SpendLimitOptions {
  /** What all calls together may cost, in whatever unit costs have. */
  readonly max: number;
  /**
   * What a call costs that does not say.
   * @defaultValue 1
   */
  readonly cost?: number | undefined;
}

/** The middleware, and what it has let through. */
export interface SpendLimit extends Middleware {
  readonly spent: number;
}

declare module "@mcp-tx/core" {
  interface CallOptions {
    /** What this call costs. */
    readonly spendLimit?: { readonly cost: number } | undefined;
  }
  interface CallEvents {
    "spendLimit.refund": { readonly tool: string; readonly cost: number };
  }
}

/** The call would cost more than is left. It was not sent. */
export class SpendLimitError extends McpTxError {
  override readonly name = "SpendLimitError";

  constructor(tool: string, cost: number, left: number) {
    super(`Tool "${tool}" was not called: it costs ${cost}, and ${left} is left to spend.`, "rate_limited", {
      outcome: { status: "rejected", execution: "not-executed", transient: false },
    });
  }
}

/** What a call has paid: also when a retry outside brings it here again, it pays once. */
const paid = createKey<number>("mcp-tx-example/spend-limit.paid");

const required: OptionReader<number> = (value, path) => {
  const max = number({ min: 0 }, undefined)(value, path);
  if (max === undefined) throw new TypeError(`${path} is required: what all calls together may cost`);
  return max;
};

/**
 * Refuses calls once a sum is spent. A call that turns out not to have run gets its cost back; one of unknown outcome does not.
 *
 * @throws TypeError or RangeError naming the option
 */
export function spendLimit(options: SpendLimitOptions): SpendLimit {
  const { max, cost: usual } = readOptions("spendLimit", options, { max: required, cost: number({ min: 0 }, 1) });
  let spent = 0;

  function charge({ call, tool, options }: CallContext): void {
    if (call.get(paid) !== undefined) return;
    const { cost } = readOptions("spendLimit", options.spendLimit ?? {}, { cost: number({ min: 0 }, usual) });
    if (spent + cost > max) throw new SpendLimitError(tool, cost, max - spent);
    spent += cost;
    call.set(paid, cost);
  }

  function refund({ call, tool }: CallContext): void {
    const cost = call.get(paid);
    if (cost === undefined || call.execution !== "not-executed") return;
    spent -= cost;
    call.set(paid, undefined);
    if (call.observed) call.emit("spendLimit.refund", { tool, cost });
  }

  async function spendLimit(ctx: CallContext, next: Handler): Promise<ToolResult> {
    charge(ctx);
    try {
      return await next(ctx);
    } finally {
      refund(ctx);
    }
  }

  return Object.defineProperty(Object.assign(spendLimit, { optionKeys: ["spendLimit"] as const, spent: 0 }), "spent", {
    get: () => spent,
  });
}
