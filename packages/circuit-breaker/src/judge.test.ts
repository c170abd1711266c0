import type { Outcome, Side } from "@mcp-tx/core";
import { describe, expect, test } from "vitest";
import { ask, judge } from "./judge.js";

const SIDES: readonly Side[] = ["client", "server", "local"];
const outcome = (patch: Partial<Outcome>): Outcome => ({
  status: "failure",
  execution: "executed",
  transient: false,
  ...patch,
});
const never = (): never => {
  throw new Error("asked");
};

describe("judge", () => {
  test.each(SIDES)("ignores what was cancelled or refused, and does not ask about it (%s)", (side) => {
    expect(judge(outcome({ status: "cancelled", execution: "unknown" }), side, never)).toBe("ignored");
    for (const code of ["rate_limited", "queue_full", "circuit_open", "store_unavailable"] as const) {
      const refusal = outcome({ status: "rejected", execution: "not-executed", transient: true, code });
      expect(judge(refusal, side, never)).toBe("ignored");
    }
  });

  test.each(SIDES)("counts throttling, timeouts and lost answers as failures (%s)", (side) => {
    expect(judge(outcome({ status: "throttled", execution: "not-executed" }), side)).toBe("failure");
    expect(judge(outcome({ status: "throttled", execution: "executed" }), side)).toBe("failure");
    expect(judge(outcome({ execution: "unknown", code: "attempt_timeout" }), side)).toBe("failure");
    expect(judge(outcome({ execution: "unknown", code: "deadline" }), side)).toBe("failure");
    expect(judge(outcome({ execution: "unknown", code: "transport_error" }), side)).toBe("failure");
  });

  test("counts a server that cannot be reached as a failure", () => {
    const refused = outcome({ execution: "not-executed", transient: true, code: "transport_error" });
    expect(judge(refused, "client")).toBe("failure");
  });

  test("ignores what was not run for a reason of the caller's or the session's", () => {
    const notRun = (patch: Partial<Outcome>) => judge(outcome({ execution: "not-executed", ...patch }), "client");
    expect(notRun({ code: "deadline" })).toBe("ignored");
    expect(notRun({ code: "session_expired", transient: true })).toBe("ignored");
    expect(notRun({ code: "transport_error", transient: false })).toBe("ignored");
    expect(notRun({ code: "protocol_error" })).toBe("ignored");
  });

  test.each(SIDES)("ignores a call whose key is in progress elsewhere (%s)", (side) => {
    expect(judge(outcome({ execution: "unknown", code: "idempotency_in_progress" }), side)).toBe("ignored");
  });

  test("counts a tool that ran and failed on the sides server and local, not on the client, whose server answered", () => {
    expect(judge(outcome({ code: "tool_error" }), "server")).toBe("failure");
    expect(judge(outcome({ code: "tool_error" }), "local")).toBe("failure");
    expect(judge(outcome({ code: "tool_error" }), "client")).toBe("success");
    expect(judge(outcome({ code: "protocol_error" }), "client")).toBe("success");
  });

  test("counts a success as a success", () => {
    for (const side of SIDES) expect(judge(outcome({ status: "success" }), side)).toBe("success");
  });

  test("lets an opinion decide, and decides itself without one", () => {
    const failed = outcome({ execution: "unknown" });
    expect(judge(failed, "client", () => false)).toBe("success");
    expect(judge(outcome({ status: "success" }), "client", () => true)).toBe("failure");
    expect(judge(failed, "client", () => undefined)).toBe("failure");
  });
});

describe("ask", () => {
  test("takes a throw, and anything but a boolean, for no opinion", () => {
    const about = outcome({});
    expect(ask(never, about, { tool: "pay" })).toBeUndefined();
    for (const opinion of [1, "true", null, Promise.resolve(true)]) {
      expect(ask(() => opinion as never, about, { tool: "pay" })).toBeUndefined();
    }
    expect(ask(() => false, about, { tool: "pay" })).toBe(false);
  });
});
