import { expect, test } from "vitest";
import { isLoopback, parseHeader, parseHeaderEnv, parseListen, parseServerUrl, parseSince } from "./flags.js";

test.each([
  ["8080", "127.0.0.1", 8080],
  ["0", "127.0.0.1", 0],
  ["localhost:65535", "localhost", 65_535],
  ["0.0.0.0:80", "0.0.0.0", 80],
  ["[::1]:80", "::1", 80],
])("listens on %s", (text, host, port) => {
  expect(parseListen(text)).toEqual({ host, port });
});

test.each(["", "x", "65536", "-1", "1.5", "a:b:1", "::1:80", ":80", "host:", "host: 80"])(
  "refuses to listen on %j, naming the option",
  (text) => {
    expect(() => parseListen(text)).toThrow(/^--listen must be a port from 0 to 65535/);
  },
);

test("knows which addresses only this machine can reach", () => {
  const hosts = ["127.0.0.1", "127.1.2.3", "localhost", "::1", "0.0.0.0", "::", "example.com", "127.0.0.1.example.com"];
  expect(hosts.map((host) => isLoopback({ host, port: 1 }))).toEqual([
    true,
    true,
    true,
    true,
    false,
    false,
    false,
    false,
  ]);
});

test.each(["", "example.com", "ftp://example.com", "file:///etc/passwd"])("refuses the url %j", (text) => {
  expect(() => parseServerUrl(text)).toThrow(/^--url must be an http or https address/);
});

test("refuses a url with a password without repeating it", () => {
  const refuse = (): unknown => parseServerUrl("https://me:hunter2@example.com/");
  expect(refuse).toThrow(/^--url must not hold a user name or password/);
  expect(refuse).not.toThrow(/hunter2/);
});

test("reads a header with colons in its value", () => {
  expect(parseHeader("X-Url:  http://a:1/ ")).toEqual(["X-Url", "http://a:1/"]);
});

test.each(["", "X", ": y", "X Y: z", "X: a\nb", "X: \u{1F600}"])("refuses the header %j, naming the option", (text) => {
  expect(() => parseHeader(text)).toThrow(/^--header/);
});

test("does not repeat the value of a header that it refuses", () => {
  expect(() => parseHeader("X: secret\u{1F600}")).not.toThrow(/secret/);
});

test("takes the value of a header from the environment", () => {
  expect(parseHeaderEnv("Authorization=KEY", { KEY: "Bearer = x" })).toEqual(["Authorization", "Bearer = x"]);
});

test.each([
  ["X", "must be a header and a variable"],
  ["=KEY", "must be a header and a variable"],
  ["X=", "must be a header and a variable"],
  ["X=OTHER", "the environment variable OTHER is not set"],
  ["X Y=KEY", "is no header name"],
])("refuses %j from the environment", (text, message) => {
  expect(() => parseHeaderEnv(text, { KEY: "v" })).toThrow(message);
});

const NOW = Date.UTC(2026, 0, 31);

test.each([
  ["90s", NOW - 90_000],
  ["90m", NOW - 90 * 60_000],
  ["24h", NOW - 86_400_000],
  ["7d", NOW - 7 * 86_400_000],
  ["2w", NOW - 14 * 86_400_000],
  ["2026-01-02", Date.UTC(2026, 0, 2)],
  ["2026-01-02T03:04:05Z", Date.UTC(2026, 0, 2, 3, 4, 5)],
])("reads the time %s", (text, since) => {
  expect(parseSince(text, NOW)).toBe(since);
});

test.each(["", "x", "7", "-1d", "1.5h", "2026-13-01", "yesterday"])("refuses the time %j", (text) => {
  expect(() => parseSince(text, NOW)).toThrow(/^--since must be a time ago/);
});
