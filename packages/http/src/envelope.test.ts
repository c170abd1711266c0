import fc from "fast-check";
import { serializeItem } from "structured-headers";
import { describe, expect, test } from "vitest";
import { pointerSegment } from "./envelope.js";
import { scene } from "./front.fixture.js";
import { checkKey, keyOfHeader } from "./idempotency-key.js";
import { Refusal } from "./refusal.js";

const SEARCH = { tool: "search", arguments: { query: "tides" } };

function headerKey(value: string): string | undefined {
  return keyOfHeader(new Headers({ "idempotency-key": value }));
}

function refusalOf(read: () => unknown): Refusal {
  try {
    read();
  } catch (error) {
    if (Refusal.isInstance(error)) return error;
    throw error;
  }
  throw new Error("it was taken");
}

describe("members", () => {
  test.each([
    ["#", null],
    ["#", []],
    ["#", '"text"'],
    ["#", 7],
    ["#/tool", {}],
    ["#/tool", { tool: "" }],
    ["#/tool", { tool: 7 }],
    ["#/tool", { tool: "x".repeat(257) }],
    ["#/arguments", { tool: "search", arguments: [] }],
    ["#/arguments", { tool: "search", arguments: null }],
    ["#/timeoutMs", { ...SEARCH, timeoutMs: 0 }],
    ["#/timeoutMs", { ...SEARCH, timeoutMs: "5" }],
    ["#/timeoutMs", { ...SEARCH, timeoutMs: null }],
    ["#/idempotencyKey", { ...SEARCH, idempotencyKey: "" }],
    ["#/idempotencyKey", { ...SEARCH, idempotencyKey: 7 }],
    ["#/idempotencyKey", { ...SEARCH, idempotencyKey: "ü" }],
    ["#/idempotencyKey", { ...SEARCH, idempotencyKey: "x".repeat(256) }],
    ["#/tool_name", { ...SEARCH, tool_name: "x" }],
    ["#/a~1b~0c%20d", { ...SEARCH, "a/b~c d": 1 }],
  ])("%s is told of %j", async (pointer, body) => {
    const { execute, tool } = scene();
    const { status, json } = await execute(body);
    expect({ status, code: json.code }).toEqual({ status: 400, code: "bad_request" });
    expect(json.errors).toEqual([{ pointer, detail: expect.any(String) }]);
    expect(tool.executions).toBe(0);
  });

  test("everything that is wrong is told at once, but no flood of it", async () => {
    const { execute } = scene();
    const { json } = await execute({ tool: 1, arguments: 2, timeoutMs: 3e9, a: 1 });
    expect(json.errors.map((error: { pointer: string }) => error.pointer)).toEqual(["#/tool", "#/arguments", "#/a"]);
    const flood = await execute(Object.fromEntries(Array.from({ length: 5000 }, (_, index) => [`m${index}`, 1])));
    expect(flood.json.errors).toHaveLength(11);
  });

  test("arguments may be left out", async () => {
    const { execute, tool } = scene();
    expect((await execute({ tool: "pay" })).status).toBe(200);
    expect(tool.contexts[0]?.args).toEqual({});
  });

  test("a pointer can be made of any name", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (name) => {
        expect(pointerSegment(name)).toMatch(/^\/[\x21-\x7e]*$/);
      }),
    );
    expect(pointerSegment("\ud800")).toBe("/%EF%BF%BD");
  });
});

describe("Idempotency-Key", () => {
  test.each([
    ['"a b, c"', "a b, c"],
    ['"say \\"hi\\" \\\\"', 'say "hi" \\'],
    ['"k";param=1', "k"],
    ["8e03978e-40d5-43dd-bc93-6894a57f9324", "8e03978e-40d5-43dd-bc93-6894a57f9324"],
    ["  bare  ", "bare"],
  ])("%s is %s", (header, key) => {
    expect(headerKey(header)).toBe(key);
  });

  test.each(['"open', '"a", "b"', "a, b", "a;b", 'a"b', '""', "", '"a" b', `"${"x".repeat(256)}"`, "a b"])(
    "%s is none",
    (header) => {
      expect(refusalOf(() => headerKey(header))).toMatchObject({ code: "bad_request" });
    },
  );

  test("any key survives the way through a structured field", () => {
    const keys = fc.string({ minLength: 1, maxLength: 255, unit: "grapheme-ascii" });
    fc.assert(
      fc.property(keys, (key) => {
        expect(headerKey(serializeItem(key))).toBe(key);
        expect(checkKey(key, "#")).toBe(key);
      }),
    );
  });

  test("header and body must agree", async () => {
    const { execute, tool } = scene();
    const { json } = await execute({ ...SEARCH, idempotencyKey: "a" }, { "idempotency-key": '"b"' });
    expect(json).toMatchObject({ code: "bad_request", errors: [{ pointer: "#/idempotencyKey" }] });
    expect(tool.executions).toBe(0);
  });
});
