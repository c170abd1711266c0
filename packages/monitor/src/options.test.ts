import { describe, expect, test } from "vitest";
import { type MonitorOptions, readSettings } from "./options.js";

describe("refuses", () => {
  const wrong: readonly (readonly [unknown, string])[] = [
    [null, "monitor: options"],
    [{ window: 1 }, 'unknown option "window"'],
    [{ windowMs: 0 }, "monitor: windowMs must be a number > 0"],
    [{ windowMs: Infinity }, "monitor: windowMs"],
    [{ windowMs: Number.NaN }, "monitor: windowMs"],
    [{ buckets: 0 }, "monitor: buckets"],
    [{ buckets: 1.5 }, "monitor: buckets"],
    [{ buckets: 1001 }, "monitor: buckets"],
    [{ maxTools: 0 }, "monitor: maxTools"],
    [{ threshold: 1.01 }, "monitor: threshold"],
    [{ threshold: -0.1 }, "monitor: threshold"],
    [{ threshold: "0.9" }, "monitor: threshold"],
    [{ recoverAt: 0.94 }, "monitor: recoverAt must be >= threshold (0.95), got 0.94"],
    [{ minSamples: 0 }, "monitor: minSamples"],
    [{ cooldownMs: -1 }, "monitor: cooldownMs"],
    [{ countRejected: 1 }, "monitor: countRejected"],
    [{ onAlert: {} }, "monitor: onAlert"],
    [{ tools: [] }, "monitor: tools"],
    [{ tools: { search: null } }, 'monitor: tools["search"]'],
    [{ tools: { search: { onAlert: () => undefined } } }, 'monitor: tools["search"]: unknown option "onAlert"'],
    [{ tools: { search: { threshold: 2 } } }, 'monitor: tools["search"]: threshold'],
    [{ tools: { search: { threshold: 0.8, recoverAt: 0.7 } } }, 'monitor: tools["search"]: recoverAt'],
  ];
  for (const [options, message] of wrong) {
    test(`${JSON.stringify(options)}, naming the option`, () => {
      expect(() => readSettings(options)).toThrow(message);
    });
  }
});

describe("reads", () => {
  const settingsOf = (options?: MonitorOptions) => readSettings(options);

  test("defaults", () => {
    const { toolRules, onAlert, ...rest } = settingsOf();
    expect(rest).toEqual({
      windowMs: 300_000,
      buckets: 10,
      maxTools: 10_000,
      countRejected: false,
      rules: { threshold: 0.95, recoverAt: 0.97, minSamples: 20, cooldownMs: 60_000 },
    });
    expect([toolRules.size, onAlert]).toEqual([0, undefined]);
  });

  test("a tool's own alert options over the monitor's", () => {
    const { toolRules } = settingsOf({ minSamples: 5, tools: { search: { threshold: 0.5 }, ["__proto__"]: {} } });
    expect(toolRules.get("search")).toEqual({ threshold: 0.5, recoverAt: 0.97, minSamples: 5, cooldownMs: 60_000 });
    expect(toolRules.has("__proto__")).toBe(true);
    expect(toolRules.has("toString")).toBe(false);
  });

  test("a threshold above the default recovery, which then equals it", () => {
    expect(settingsOf({ threshold: 0.99 }).rules.recoverAt).toBe(0.99);
    expect(settingsOf({ tools: { search: { threshold: 1 } } }).toolRules.get("search")?.recoverAt).toBe(1);
  });
});
