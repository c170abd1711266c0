import { expect, test } from "vitest";
import { namesOf } from "./names.js";

test.each([
  ["mcp-audit", { file: "mcp-audit", camel: "mcpAudit", pascal: "McpAudit" }],
  ["@acme/mcp-audit", { file: "mcp-audit", camel: "mcpAudit", pascal: "McpAudit" }],
  ["audit", { file: "audit", camel: "audit", pascal: "Audit" }],
  ["a.b_c-2d", { file: "a.b_c-2d", camel: "aBC2d", pascal: "ABC2d" }],
])("%s gives its parts their names", (packageName, names) => {
  expect(namesOf(packageName)).toEqual({ packageName, ...names });
});

test.each([
  ["", "length must be greater than zero"],
  ["Audit", "can no longer contain capital letters"],
  ["my audit", "can only contain URL-friendly characters"],
  ["../audit", "cannot start with a period"],
  ["@acme/", "can only contain URL-friendly characters"],
  ["a".repeat(215), "can no longer contain more than 214 characters"],
  ["@acme/2fast", "must begin with a letter"],
  ["retry", 'mcp-tx has a "retry" already'],
  ["@acme/idempotency-key", 'mcp-tx has a "idempotencyKey" already'],
  ["delete", 'no function can be called "delete" here'],
  ["create-key", 'no function can be called "createKey" here'],
])("refuses the name %j and says why", (name, reason) => {
  expect(() => namesOf(name)).toThrow(TypeError);
  expect(() => namesOf(name)).toThrow(/^name "/);
  expect(() => namesOf(name)).toThrow(reason);
});
