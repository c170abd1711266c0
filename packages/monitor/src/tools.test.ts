import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, test } from "vitest";
import { type MonitorOptions, readSettings } from "./options.js";
import { OTHER, type Tool, Tools } from "./tools.js";
import type { Sample } from "./window.js";

const SAMPLE: Sample = {
  status: "completed",
  code: undefined,
  attempts: 1,
  duplicate: false,
  waitedMs: 0,
  latencyMs: 120,
};

function toolsOf(options: MonitorOptions = {}): Tools {
  return new Tools(readSettings(options));
}

function heapUsed(): number {
  setFlagsFromString("--expose-gc");
  runInNewContext("gc")();
  return process.memoryUsage().heapUsed;
}

describe("beyond maxTools", () => {
  test("calls count under one name, until a tool has had none for a whole window", () => {
    const tools = toolsOf({ windowMs: 10_000, maxTools: 2 });
    tools.use("a", 0).window.record(SAMPLE, 0);
    tools.use("b", 5000).window.record(SAMPLE, 5000);
    expect(tools.use("c", 6000).name).toBe(OTHER);
    expect(tools.use("a", 6000).name).toBe("a");
    expect(tools.use("c", 9999).name).toBe(OTHER);
    expect(tools.use("c", 10_999).name).toBe("c");
    expect(tools.use("a", 10_999).name).toBe(OTHER);
    expect(tools.use("b", 10_999).name).toBe("b");
    expect(tools.size).toBe(2);
  });

  test("a tool that has a call in flight, fires or cools down keeps its place", () => {
    const tools = toolsOf({ windowMs: 1000, maxTools: 3 });
    const rules = { threshold: 1, recoverAt: 1, minSamples: 1, cooldownMs: 60_000 };
    const bad = { succeeded: 0, samples: 1 };
    tools.use("busy", 0).inFlight += 1;
    tools.use("firing", 0).alert.next(rules, bad, 0);
    const { alert } = tools.use("cooling", 0);
    alert.next(rules, bad, 0);
    alert.end(rules, { succeeded: 0, samples: 0 }, 10);
    expect(tools.use("new", 50_000).name).toBe(OTHER);
    expect(tools.use("new", 70_000).name).toBe("new");
    expect(tools.use("cooling", 70_000).name).toBe(OTHER);
  });

  test("tools with rules of their own have a place in any case", () => {
    const tools = toolsOf({ maxTools: 1, tools: { pay: { threshold: 0.5 } } });
    tools.use("a", 0).window.record(SAMPLE, 0);
    expect(tools.use("pay", 0).rules.threshold).toBe(0.5);
    expect(tools.use("pay", 0).name).toBe("pay");
  });

  test("looks for a place once in a while, not at each call", () => {
    const tools = toolsOf({ windowMs: 10, maxTools: 1 });
    const first = tools.use("first", 0);
    let looks = 0;
    first.window.advance = () => {
      looks += 1;
    };
    first.window.record(SAMPLE, 0);
    looks = 0;
    for (let now = 0; now < 100; now += 1) tools.use(`other-${now}`, now);
    expect(looks).toBe(1);
  });
});

test("names that no tool has count under one name", () => {
  const tools = toolsOf();
  expect(tools.use("x".repeat(257), 0).name).toBe(OTHER);
  expect(tools.use("x".repeat(256), 0).name).toHaveLength(256);
  expect(tools.use(OTHER, 0)).toBe(tools.use("y".repeat(300), 0));
  expect(tools.use("__proto__", 0).name).toBe("__proto__");
});

describe("memory", () => {
  function filled(count: number, fill: (tool: Tool) => void): Tools {
    const tools = toolsOf();
    for (let index = 0; index < count; index += 1) fill(tools.use(`tool-${index}`, 0));
    return tools;
  }

  function bytesPerTool(count: number, fill: (tool: Tool) => void): number {
    // Compiled code is no tool's memory.
    filled(count / 10, fill);
    const before = heapUsed();
    const tools = filled(count, fill);
    const bytes = (heapUsed() - before) / count;
    // Still in use when it was measured.
    expect(tools.size).toBe(count);
    return bytes;
  }

  test("of a tool without calls stays under a kilobyte", () => {
    expect(bytesPerTool(10_000, () => undefined)).toBeLessThan(1024);
  });

  test("of a tool that was called in one step stays under two kilobytes", () => {
    expect(bytesPerTool(10_000, (tool) => tool.window.record(SAMPLE, 0))).toBeLessThan(2048);
  });

  /** Ten steps of calls, with latencies that spread by a factor. */
  function busy(tool: Tool, factor: number): void {
    for (let step = 0; step < 10; step += 1) {
      for (let spread = 1; spread <= factor; spread *= 1.02) {
        tool.window.record({ ...SAMPLE, latencyMs: spread }, step * 30_000);
      }
      tool.window.record(
        { ...SAMPLE, status: "failed", code: "tool_error", waitedMs: 3.5, latencyMs: 5 },
        step * 30_000,
      );
    }
  }

  test("of a busy tool stays under 24 kilobytes while latencies spread by a factor of ten", () => {
    expect(bytesPerTool(100, (tool) => busy(tool, 10))).toBeLessThan(24 * 1024);
  });

  test("of a busy tool stays under 64 kilobytes from a millisecond to a minute", () => {
    expect(bytesPerTool(100, (tool) => busy(tool, 60_000))).toBeLessThan(64 * 1024);
  });
});
