import { expect, test } from "vitest";
import { maskArgument, maskEntry } from "./masking.js";

test.each([
  ["--api-key", undefined, "--api-key"],
  ["sk-123", "--api-key", "***"],
  ["sk-123", "--token", "***"],
  ["Authorization: Bearer x", "--header", "***"],
  ["--api-key=sk-123", undefined, "--api-key=***"],
  ["TOKEN=abc", "-e", "TOKEN=***"],
  ["Authorization: Bearer x", "-H", "Authorization:***"],
  ["postgres://me:hunter2@host/db?password=x#y", undefined, "postgres://***@host/db?***#***"],
  ["https://example.com/mcp", "--url", "https://example.com/mcp"],
  ["ghp_0123456789abcdefABCDEF", undefined, "***"],
  ["@modelcontextprotocol/server-filesystem", "-y", "@modelcontextprotocol/server-filesystem"],
  ["/Volumes/data/a folder", undefined, "/Volumes/data/a folder"],
  ["C:\\tools\\server.exe", undefined, "C:\\tools\\server.exe"],
  ["Authorization=UPSTREAM_HEADER_AUTHORIZATION", "--header-env", "Authorization=UPSTREAM_HEADER_AUTHORIZATION"],
  ["run", "docker", "run"],
])("shows %j after %j as %j", (argument, previous, shown) => {
  expect(maskArgument(argument, previous)).toBe(shown);
});

test("shows of an entry how it is started, and hides all other values and comments", () => {
  const shown = maskEntry(`{
  "command": "node", // the secret is s1
  "args": ["server.js", "--token", "s2"],
  "cwd": "/srv",
  "url": "https://u:s3@example.com/?key=s4",
  "env": { "A": "s5", "N": 42 }, /* s6 */
  "headers": { "Authorization": "s7" },
  "unknown": [{ "deep": "s8" }],
  "disabled": false
}`);
  expect(shown).not.toMatch(/s\d|42/);
  expect(shown).toContain('"args": ["server.js", "--token", "***"]');
  expect(shown).toContain('"cwd": "/srv"');
  expect(shown).toContain('"disabled": false');
});

test("a text that looks like a comment stays", () => {
  expect(maskEntry('{"command": "a//b", "args": ["/* x */"]}')).toBe('{"command": "a//b", "args": ["/* x */"]}');
});
