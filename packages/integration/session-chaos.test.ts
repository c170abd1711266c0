import { expect, test } from "vitest";
import { sessionChaos } from "./fixtures/session-chaos.js";

test("no call runs twice and all are answered while the server of a session is killed", {
  timeout: 240_000,
}, async () => {
  const report = await sessionChaos({ calls: 200, callers: 8, seed: 42 });
  expect(report).toMatchObject({ ranTwice: [], lies: [] });
  expect(report.completed + report.unknown + report.notExecuted).toBe(200);
  expect(report.kills).toBeGreaterThan(0);
  expect(report.completed).toBeGreaterThan(0);
});
