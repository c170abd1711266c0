import { type BreakerSnapshot, circuitBreaker } from "@mcp-tx/circuit-breaker";
import { expect, test } from "vitest";
import { overallHealth, type ServerHealth, serverHealth } from "./health.js";

const breaker = (snapshot: Partial<BreakerSnapshot>) => ({
  snapshot: (): BreakerSnapshot => ({ version: 1, takenAtWall: 0, circuits: [], isolated: [], ...snapshot }),
});
const circuit = (tool: string, state: "closed" | "open" | "half-open", openForMs = 0) => ({
  ...{ key: JSON.stringify([null, tool]), tool, state, openForMs, consecutiveFailures: 1, openings: 1 },
});

test.each([
  ["idle", "pass"],
  ["connecting", "pass"],
  ["connected", "pass"],
  ["waiting", "warn"],
  ["closed", "fail"],
] as const)("a server that is %s is %s", (connection, status) => {
  expect(serverHealth(connection, 2, [])).toEqual({ status, connection, inFlight: 2, circuits: [] });
});

test("a circuit that does not let all calls through is a warning, never a failure, and closed ones are not told", () => {
  const circuits = [circuit("a", "open", 500), circuit("b", "closed"), circuit("c", "half-open")];
  const health = serverHealth("connected", 0, [breaker({ circuits }), breaker({ isolated: ["d"] })]);
  expect(health.status).toBe("warn");
  expect(health.circuits).toEqual([
    { key: '[null,"a"]', tool: "a", state: "open", openForMs: 500 },
    { key: '[null,"c"]', tool: "c", state: "half-open", openForMs: 0 },
    { key: "d", state: "isolated" },
  ]);
  expect(serverHealth("connected", 0, [breaker({ circuits: [circuit("b", "closed")] })]).status).toBe("pass");
  expect(serverHealth("closed", 0, [breaker({ circuits })]).status).toBe("fail");
});

test("an isolated tool is told by its real breaker", () => {
  const real = circuitBreaker();
  real.isolate("pay");
  expect(serverHealth("connected", 0, [real])).toMatchObject({
    status: "warn",
    circuits: [{ key: "pay", state: "isolated" }],
  });
});

test("the whole fails only when no server can be called any more", () => {
  const of = (...states: ServerHealth["status"][]) =>
    overallHealth(
      Object.fromEntries(
        states.map((status, index) => [index, { status, connection: "connected", inFlight: 0, circuits: [] }]),
      ),
    ).status;
  expect(of()).toBe("pass");
  expect(of("pass", "pass")).toBe("pass");
  expect(of("pass", "warn")).toBe("warn");
  expect(of("pass", "fail")).toBe("warn");
  expect(of("fail", "fail")).toBe("fail");
});
