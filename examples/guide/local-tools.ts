/** The guide's local tools (`@app.tool()`, `list_tools()`): plain functions behind one pipeline, with a policy for each. */

import assert from "node:assert/strict";
// #region tools
import { reportOf, when, wrapTool } from "@mcp-tx/core";
import { retry } from "@mcp-tx/retry";

let apiCalls = 0;

function protectedApiCall({ endpoint, data }: { readonly endpoint: string; readonly data: object }) {
  apiCalls += 1;
  if (apiCalls < 3) throw new Error(`${endpoint} is being deployed.`);
  return { endpoint, accepted: Object.keys(data).length };
}

async function payInvoice({ invoice }: { readonly invoice: string }): Promise<{ readonly receipt: string }> {
  throw new Error(`The bank refuses ${invoice}.`);
}

// What a local tool throws is a failure of a tool that ran, so it is repeated only where a policy asks for that.
const policies = [
  when(/api_call$/, retry({ maxAttempts: 5, baseDelayMs: 10, retryOn: () => true })),
  when("pay", retry()),
];
const tools = {
  protected_api_call: wrapTool("protected_api_call", protectedApiCall, policies),
  pay: wrapTool("pay", payInvoice, policies),
};
// #endregion tools

// #region calls
const answer = await tools.protected_api_call({ endpoint: "/orders", data: { id: 7 } });
assert.deepEqual(answer, { endpoint: "/orders", accepted: 1 });
assert.equal(reportOf(answer)?.attempts, 3);

const refusal: unknown = await tools.pay({ invoice: "INV-1" }).catch((error) => error);
assert.match(String(refusal), /The bank refuses INV-1/);
const { status, execution, attempts } = reportOf(refusal) ?? {};
assert.deepEqual({ status, execution, attempts }, { status: "failed", execution: "executed", attempts: 1 });

apiCalls = 0;
await assert.rejects(tools.protected_api_call({ endpoint: "/orders", data: {} }, { retry: false }), /being deployed/);
// #endregion calls
assert.equal(apiCalls, 1);

assert.deepEqual(Object.keys(tools), ["protected_api_call", "pay"]);
console.log({ registered_tools: Object.keys(tools), answer, attempts: reportOf(answer)?.attempts });
