import { expect, test } from "vitest";
import type { Over } from "./fixtures/http-load-sessions.js";
import { runLoad } from "./http-load.js";

const OVER: readonly Over[] = ["memory-v1", "memory-v2", "stdio"];
/** Enough for one of every kind to be answered. */
const AMOUNT = 800;

test.each(OVER)(
  "does under load what it says, and keeps nothing of it, over %s",
  async (over) => {
    const report = await runLoad({ over, connections: 10, warmUp: 250, amount: AMOUNT });

    expect(report.mistakes).toEqual([]);
    expect(report.rows.map(({ kind }) => kind)).toEqual([
      "closes",
      "closes, keyed",
      "hangs",
      "hangs, keyed",
      "health",
      "invalid",
      "limited",
      "malformed",
      "throws",
      "throws, duplicate",
      "throws, keyed",
      "tools",
      "works",
      "works, duplicate",
      "works, keyed",
    ]);
    expect(report.rows.reduce((sum, { answers }) => sum + answers, 0)).toBe(AMOUNT);
    // Lost by `closes`, and found again by the next call.
    expect(report.connections).toBeGreaterThan(2);
  },
  180_000,
);
