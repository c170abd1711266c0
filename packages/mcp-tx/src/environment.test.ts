import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { settingsIn, VARIABLES } from "./environment.js";

test("reads what is set, and leaves alone what is another's", () => {
  const env = {
    MCP_TX_TIMEOUT_MS: "5000",
    PATH: "/bin",
    MCP_TX_TEST_REPORT: "x",
    MCP_TX_CONFIG: "a.json",
    HOME: undefined,
  };
  expect(settingsIn(env)).toEqual([{ variable: "MCP_TX_TIMEOUT_MS", path: ["timeoutMs"], value: 5000 }]);
});

test.each(["", " ", "\t"])("%j counts as not set", (text) => {
  expect(settingsIn({ MCP_TX_TIMEOUT_MS: text })).toEqual([]);
});

test.each([
  ["5000", 5000],
  [" 5_000 ", 5000],
  ["1e3", 1000],
  [".5", 0.5],
  ["Infinity", Infinity],
  ["-1", -1],
])("%j is the number %s", (text, value) => {
  expect(settingsIn({ MCP_TX_TIMEOUT_MS: text })[0]?.value).toBe(value);
});

test.each(["5s", "five", "0x10", "1,000", "NaN", "1 000", "5000ms", "__"])("%j is no number", (text) => {
  expect(() => settingsIn({ MCP_TX_TIMEOUT_MS: text })).toThrow(
    new TypeError(`MCP_TX_TIMEOUT_MS must be a number, got ${JSON.stringify(text)}`),
  );
});

test.each([
  ["true", true],
  ["YES", true],
  ["1", true],
  ["on", true],
  ["False", false],
  ["0", false],
  ["no", false],
  ["off", false],
])("%j is %s", (text, value) => {
  expect(settingsIn({ MCP_TX_RETRY: text })[0]?.value).toBe(value);
});

test("what is neither yes nor no is refused", () => {
  expect(() => settingsIn({ MCP_TX_RETRY: "maybe" })).toThrow(/^MCP_TX_RETRY must be one of "true", .*, got "maybe"$/);
});

test.each([
  ["MCP_TX_RETRY_MAX_ATEMPTS", "MCP_TX_RETRY_MAX_ATTEMPTS"],
  ["MCP_TX_TIMEOUT", "MCP_TX_TIMEOUT_MS"],
  ["MCP_TX_CONCURENCY", "MCP_TX_CONCURRENCY"],
])("%s is taken for a slip of the finger", (name, meant) => {
  expect(() => settingsIn({ [name]: "5" })).toThrow(new TypeError(`${name} does not exist; did you mean ${meant}?`));
});

test("a section's own switch comes after what says how the section works", () => {
  const env = { MCP_TX_RETRY: "false", MCP_TX_RETRY_MAX_ATTEMPTS: "5", MCP_TX_TIMEOUT_MS: "9" };
  expect(settingsIn(env).map(({ variable }) => variable)).toEqual([
    "MCP_TX_RETRY_MAX_ATTEMPTS",
    "MCP_TX_RETRY",
    "MCP_TX_TIMEOUT_MS",
  ]);
});

describe("names", () => {
  test("follow from the keys", () => {
    for (const [name, { key }] of Object.entries(VARIABLES)) {
      const expected = key.replaceAll(/[.A-Z]/g, (letter) => (letter === "." ? "_" : `_${letter}`)).toUpperCase();
      expect(name === "MCP_TX_CONCURRENCY" ? `${name}_MAX` : name).toBe(`MCP_TX_${expected}`);
    }
  });

  test("that are nothing like ours are never refused", () => {
    const other = fc.stringMatching(/^MCP_TX_CLI_[A-Z]{6,20}$/);
    fc.assert(
      fc.property(other, (name) => {
        expect(settingsIn({ [name]: "x" })).toEqual([]);
      }),
    );
  });
});
