import type { CallContext } from "@mcp-tx/core";
import { context } from "@mcp-tx/core/testing";
import fc from "fast-check";
import { expect, test } from "vitest";
import { keyOf, recordKeyOf, scopeOf, travellingKeyOf } from "./record-key.js";

const at = (tool: string, server?: string): CallContext =>
  context({ tool }, server === undefined ? undefined : { peer: { server } });

test("files a call under version, scope, server, tool and key", () => {
  expect(recordKeyOf(at("pay"), "k", "")).toBe('[1,"local","",null,"pay","k"]');
  expect(recordKeyOf(at("pay", "shop"), "k", "ada")).toBe('[1,"local","ada","shop","pay","k"]');
});

test("never files two different calls under one key", () => {
  const part = fc.oneof(fc.string(), fc.constantFrom('"', '","', "[", "\u0000", "x".repeat(600)));
  const parts = fc.tuple(
    part,
    part,
    part.filter((tool) => tool !== ""),
    part,
  );
  fc.assert(
    fc.property(parts, parts, (one, two) => {
      const [a, b] = [one, two].map(([scope, server, tool, key]) => recordKeyOf(at(tool, server), key, scope));
      expect(a === b).toBe(JSON.stringify(one) === JSON.stringify(two));
    }),
  );
});

test("is at most 500 characters of well-formed text without NUL, whatever the parts", () => {
  for (const key of ["x".repeat(1024), "\u0000", "😀".repeat(400)]) {
    const filed = recordKeyOf(at("\ud800tool"), key, "s".repeat(10_000));
    expect(filed.length).toBeLessThanOrEqual(500);
    expect(filed).not.toMatch(/\p{Cc}|\p{Surrogate}/u);
    expect(recordKeyOf(at("\ud800tool"), key, "")).not.toMatch(/\p{Cc}|\p{Surrogate}/u);
  }
});

test("gives each round of an input dialogue a record of its own", () => {
  const filed = [
    undefined,
    { inputResponses: { a: 1 } },
    { inputResponses: { a: 2 } },
    { requestState: "s" },
    { inputResponses: { a: 1 }, requestState: "s" },
  ].map((round) => {
    const ctx = at("pay");
    return recordKeyOf(
      { ...ctx, call: Object.create(ctx.call, { request: { value: { ...ctx.call.request, round } } }) },
      "k",
      "",
    );
  });
  expect(new Set(filed).size).toBe(5);
});

test("travels as it is without a scope, and never in two scopes alike", () => {
  expect(travellingKeyOf("k", "")).toBe("k");
  expect(travellingKeyOf("k", "a")).toBe('["a","k"]');
  expect(travellingKeyOf("k".repeat(1024), "a")).toMatch(/^sha256:[0-9a-f]{64}$/);
});

test("prefers the call's own key, and takes none from a function that gives undefined", () => {
  const ctx = context({ tool: "pay", options: { idempotencyKey: "own" } });
  expect(keyOf(ctx, () => "made")).toBe("own");
  expect(keyOf(at("pay"), () => "made")).toBe("made");
  expect(keyOf(at("pay"), () => undefined)).toBeUndefined();
  expect(keyOf(at("pay"), undefined)).toBeUndefined();
});

test("has the scope it is given", () => {
  expect(scopeOf(at("pay"), undefined)).toBe("");
  expect(scopeOf(at("pay"), "tenant")).toBe("tenant");
  expect(scopeOf(at("pay"), ({ tool }) => tool)).toBe("pay");
});
