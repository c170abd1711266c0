// A Worker as it would be written: one pipeline, made when the module is loaded, for all requests.
import { circuitBreaker } from "@mcp-tx/circuit-breaker";
import { pipeline, reportOf, run } from "@mcp-tx/core";
import { idempotency } from "@mcp-tx/idempotency";
import { concurrencyLimit, rateLimit } from "@mcp-tx/rate-limit";
import { retry } from "@mcp-tx/retry";
import { equal } from "./expect.mjs";

const REFUSED = { execution: "not-executed", transient: true, code: "transport_error" };
let payments = 0;
let refusals = 0;

async function tool(ctx) {
  if (refusals < 1) {
    refusals += 1;
    throw new Error("refused");
  }
  if (ctx.tool === "pay") payments += 1;
  // As a call to elsewhere would: meanwhile the other requests come to stand in line.
  await new Promise((resolve) => setTimeout(resolve, 20));
  return { content: [{ type: "text", text: "paid" }] };
}

const handler = pipeline(
  [
    idempotency(),
    retry({ baseDelayMs: 5 }),
    circuitBreaker(),
    rateLimit({ rate: 100, burst: 10 }),
    concurrencyLimit({ max: 1 }),
  ],
  tool,
);
const settings = { timeoutMs: 10_000, classifiers: [({ error }) => (error === undefined ? undefined : REFUSED)] };

/** Requests come at the same time, with one key: the tool runs once, and one of them waits for another's run. */
export default {
  async fetch() {
    try {
      const order = { tool: "pay", args: { amount: 5 }, options: { idempotencyKey: "order-42" } };
      const result = await run(handler, order, settings);
      equal([payments, result.content[0].text], [1, "paid"], "payments of one order");
      const fresh = await run(handler, { tool: "search" }, settings);
      equal(reportOf(fresh)?.execution, "executed", "a call without a key");
      return new Response("ok");
    } catch (error) {
      return new Response(String(error?.stack ?? error), { status: 500 });
    }
  },
};
