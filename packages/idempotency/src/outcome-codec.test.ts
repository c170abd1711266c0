import { type Outcome, RECEIPT_KEY, ReplayedError, type ToolResult } from "@mcp-tx/core";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { encodeError, encodeResult, replay } from "./outcome-codec.js";

const FAILURE: Outcome = { status: "failure", execution: "executed", transient: false, code: "protocol_error" };

function thrownBy(act: () => unknown): ReplayedError {
  try {
    act();
  } catch (error) {
    if (ReplayedError.isInstance(error)) return error;
  }
  throw new Error("threw no ReplayedError");
}

describe("results", () => {
  test("come back as they were, from every side, each time as a new object", () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.constantFrom("client", "server", "local"), (value, side) => {
        const result: ToolResult = {
          content: [{ type: "text", text: "a" }],
          structuredContent: JSON.parse(JSON.stringify(value)),
        };
        const text = encodeResult(result, side);
        expect(replay(text, "pay")).toEqual(result);
        expect(replay(text, "pay")).not.toBe(replay(text, "pay"));
      }),
    );
  });

  test("are kept without receipts, and with the rest of their _meta", () => {
    const receipt = { requestId: "r", ack: true, execution: "executed", duplicate: false };
    const kept = (meta: Readonly<Record<string, unknown>>) =>
      replay(encodeResult({ content: [], _meta: meta }, "client"), "pay");
    expect(kept({ [RECEIPT_KEY]: receipt, vendor: 1 })).toEqual({ content: [], _meta: { vendor: 1 } });
    expect(kept({ [RECEIPT_KEY]: receipt })).toEqual({ content: [] });
    expect(kept({})).toEqual({ content: [], _meta: {} });
  });

  const cyclic: Record<string, unknown> = {};
  cyclic.self = cyclic;
  const lossy: Readonly<Record<string, unknown>> = {
    "a cycle": cyclic,
    "a BigInt": 1n,
    NaN: [Number.NaN],
    "a function": { f: () => 1 },
    "a symbol": Symbol("s"),
    "undefined in a list": [undefined],
    "a Map": { m: new Map() },
    "a Set": new Set([1]),
    "an Error": new Error("no funds"),
    "a RegExp": /x/,
    "an ArrayBuffer": { bytes: new ArrayBuffer(8) },
    "a Promise": [Promise.resolve()],
    "a member that cannot be read": {
      get a(): never {
        throw new Error("closed");
      },
    },
  };
  for (const [name, value] of Object.entries(lossy)) {
    test(`are not kept with ${name}, which JSON would lose`, () => {
      expect(encodeResult({ structuredContent: value }, "local")).toBeUndefined();
    });
  }

  test("are not kept when they are no object", () => {
    for (const value of [undefined, null, "text", { toJSON: () => "text" }]) {
      expect(encodeResult(value as ToolResult, "client")).toBeUndefined();
    }
  });
});

describe("errors", () => {
  test("come back with the answer that went over the wire, without its receipt", () => {
    const data = { [RECEIPT_KEY]: {}, order: 7 };
    const error = Object.assign(new Error("no such order"), { code: -32_002, data });
    const replayed = thrownBy(() => replay(encodeError(error, FAILURE, "client"), "pay"));
    expect(replayed.answer).toEqual({ code: -32_002, message: "no such order", data: { order: 7 } });
    expect(replayed).toMatchObject({ code: "protocol_error", outcome: { execution: "executed", transient: false } });
    expect(replayed.message).toContain('Tool "pay" ran already');
    expect(replayed.message).toContain("no such order");
  });

  test("have the answer that a server's SDK would send for them, and none elsewhere", () => {
    const answerOn = (side: "server" | "local", error: unknown) =>
      thrownBy(() => replay(encodeError(error, FAILURE, side), "pay")).answer;
    expect(answerOn("server", new Error("boom"))).toEqual({ code: -32_603, message: "boom" });
    expect(answerOn("server", "boom")).toEqual({ code: -32_603, message: "Internal error" });
    expect(answerOn("local", new Error("boom"))).toBeUndefined();
    expect(answerOn("local", Object.assign(new Error("boom"), { code: "ENOENT" }))).toBeUndefined();
  });

  test("come back as something, whatever was thrown", () => {
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    const cyclic: Record<string, unknown> = { code: 1, message: "m" };
    cyclic.data = cyclic;
    for (const thrown of [undefined, null, 7, "text", Symbol("s"), {}, proxy, cyclic, { message: 1n }]) {
      for (const side of ["client", "server", "local"] as const) {
        expect(thrownBy(() => replay(encodeError(thrown, FAILURE, side), "pay")).outcome.execution).toBe("executed");
      }
    }
  });
});

test("says of what was not kept, or cannot be read, that it ran", () => {
  for (const text of [undefined, "", "{", "null", "[]", '{"v":2,"result":{}}', '{"v":1}', '{"v":1,"result":7}']) {
    const error = thrownBy(() => replay(text, "pay"));
    expect(error.message).toContain("ran already");
    expect(error.answer).toBeUndefined();
  }
});
