import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { problemOf, problemResponse } from "./problem.js";
import { isOutcomeCode, KINDS, type ProblemCode, problemTypeOf } from "./problem-codes.js";
import { Refusal } from "./refusal.js";

const CODES = Object.keys(KINDS) as ProblemCode[];
const DOCUMENTATION = readFileSync(new URL("../../../docs/rest.md", import.meta.url), "utf8");

test("every code is documented where its type says, with its status", () => {
  const documented = [...DOCUMENTATION.matchAll(/^### (\w+)\n\n(\d{3})\. /gm)].map(([, code, status]) => [
    code,
    status,
  ]);
  const expected = CODES.map((code) => [code, String(KINDS[code].status)]);
  expect(documented.sort()).toEqual(expected.sort());
  for (const code of CODES) expect(problemTypeOf(code)).toMatch(new RegExp(`/docs/rest\\.md#${code}$`));
});

test("the core's codes are told from those of the front", () => {
  expect(CODES.filter(isOutcomeCode)).toHaveLength(15);
  for (const code of ["bad_request", "toString", "__proto__", "", 5, undefined])
    expect(isOutcomeCode(code)).toBe(false);
});

test.each<[number, string]>([
  [0, "1"],
  [0.2, "1"],
  [1000, "1"],
  [1000.2, "2"],
  [59_001, "60"],
])("%d ms are %s seconds: whole ones, never too few", (retryAfterMs, seconds) => {
  const problem = problemOf(new Refusal("rate_limited", { retryAfterMs }), "id");
  expect(problemResponse(problem).headers.get("retry-after")).toBe(seconds);
  expect(problem.retryAfterMs).toBe(Math.ceil(retryAfterMs));
});

test.each([Number.NaN, -5, Infinity, undefined])("%d ms are no time: a second is", (retryAfterMs) => {
  const problem = problemOf(new Refusal("circuit_open", { retryAfterMs }), "id");
  expect(problemResponse(problem).headers.get("retry-after")).toBe("1");
  expect(problemOf(new Refusal("tool_error", { retryAfterMs }), "id")).not.toHaveProperty("retryAfterMs");
});
