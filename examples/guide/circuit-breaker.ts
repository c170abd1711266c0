/** The guide's circuit breaker: after three failures in a row nothing is called for 30 seconds, then one call tries. */

import assert from "node:assert/strict";
// #region breaker
import { CircuitOpenError, circuitBreaker } from "@mcp-tx/circuit-breaker";
import { reportOf, wrapTool } from "@mcp-tx/core";
import { virtualTime } from "@mcp-tx/core/testing";

const time = virtualTime();
let isDown = true;
let apiCalls = 0;

async function externalApiCall({ endpoint }: { readonly endpoint: string; readonly data: object }) {
  apiCalls += 1;
  if (isDown) throw new Error(`${endpoint} is down.`);
  return { endpoint, accepted: true };
}

const breaker = circuitBreaker({ consecutiveFailures: 3, recoveryTimeoutMs: 30_000 });
breaker.onStateChange(({ from, to, at }) => console.log(`${at} ms: ${from} -> ${to}`));
const protectedApiCall = wrapTool("protected_api_call", externalApiCall, breaker, { runtime: time.runtime });
// #endregion breaker

// #region open
/** What a call comes to: its value, or what it throws. */
const attempt = (): Promise<unknown> =>
  protectedApiCall({ endpoint: "/orders", data: { id: 7 } }).catch((error: unknown) => error);

for (let failure = 1; failure <= 3; failure += 1) assert.match(String(await attempt()), /\/orders is down/);
assert.equal(breaker.state("protected_api_call"), "open");

const refusal = await attempt();
assert.ok(CircuitOpenError.isInstance(refusal));
assert.equal(refusal.retryAfterMs, 30_000);
assert.deepEqual([reportOf(refusal)?.status, reportOf(refusal)?.execution], ["rejected", "not-executed"]);
console.log(refusal.message);
// #endregion open

// #region probe
await time.advance(29_999);
assert.ok(CircuitOpenError.isInstance(await attempt()));
assert.equal(apiCalls, 3);

// Still down: the one call that tries opens the circuit again.
await time.advance(1);
assert.equal(breaker.state("protected_api_call"), "half-open");
assert.match(String(await attempt()), /\/orders is down/);
assert.ok(CircuitOpenError.isInstance(await attempt()));
assert.equal(apiCalls, 4);

isDown = false;
await time.advance(30_000);
assert.deepEqual(await attempt(), { endpoint: "/orders", accepted: true });
assert.equal(breaker.state("protected_api_call"), "closed");
assert.deepEqual(await attempt(), { endpoint: "/orders", accepted: true });
assert.equal(apiCalls, 6);
// #endregion probe
