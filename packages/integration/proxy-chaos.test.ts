import { expect, test } from "vitest";
import { chaos } from "./fixtures/proxy-chaos.js";

test.each(["stdio", "http"] as const)(
  "no call runs twice and all are answered while servers are killed, hosts over %s",
  { timeout: 240_000 },
  async (way) => {
    const report = await chaos({ calls: 200, clients: 8, seed: 42, way });
    expect(report).toMatchObject({ unanswered: [], ranTwice: [], lies: [] });
    expect(report.succeeded + report.failed.length).toBe(200);
    expect(report.kills).toBeGreaterThan(0);
  },
);
