import { scriptedTool } from "@mcp-tx/core/testing";
import { describe, expect, test } from "vitest";
import { createHttpHandler } from "./create-handler.js";
import { callerOf, OK } from "./front.fixture.js";
import type { HttpHandlerOptions } from "./types.js";

const caller = callerOf(scriptedTool([{ result: OK }]));
const create = (options: object): unknown => createHttpHandler(caller, { tools: ["search"], ...options });

describe("bad options are refused at construction", () => {
  test.each<[object, RegExp]>([
    [{ bodyLimit: 5 }, /createHttpHandler: unknown option "bodyLimit"; it takes basePath, /],
    [{ basePath: "mcp" }, /basePath must be "" or a path such as "\/mcp"/],
    [{ basePath: "/mcp/" }, /basePath must be/],
    [{ basePath: 5 }, /basePath must be/],
    [{ tools: "search" }, /tools must be "all", an array of names, or an object/],
    [{ tools: [""] }, /tools\[0\] must be the name of a tool/],
    [{ tools: { a: { input: {} } } }, /tools\.a: input must be a Standard Schema/],
    [{ tools: { a: { schema: 1 } } }, /tools\.a: unknown option "schema"/],
    [{ tools: { a: { maxTimeoutMs: 0 } } }, /tools\.a: maxTimeoutMs must be a number > 0/],
    [{ authorize: "nobody" }, /authorize must be "anyone" or a function/],
    [{ hosts: "localhost" }, /hosts must be an array/],
    [{ hosts: ["http://localhost"] }, /hosts\[0\] must be a host such as/],
    [{ origins: ["example.com"] }, /origins\[0\] must be an origin such as/],
    [{ origins: ["https://example.com/"] }, /origins\[0\] must be an origin such as/],
    [{ maxBodyBytes: 0 }, /maxBodyBytes must be an integer >= 1, got 0/],
    [{ bodyTimeoutMs: 0 }, /bodyTimeoutMs must be a number > 0, got 0/],
    [{ maxDepth: 1 }, /maxDepth must be an integer >= 2, got 1/],
    [{ maxTimeoutMs: Infinity }, /maxTimeoutMs must be a number > 0, got Infinity/],
    [{ connectTimeoutMs: "5" }, /connectTimeoutMs must be a number > 0, got "5"/],
    [{ toolsTtlMs: -1 }, /toolsTtlMs must be a number >= 0/],
    [{ toolErrors: "hide" }, /toolErrors must be one of "expose", "redact", got "hide"/],
    [{ rateLimits: [{}] }, /rateLimits\[0\] must be an object with a method quota\(\)/],
    [{ rateLimits: [undefined] }, /rateLimits\[0\] must be an object/],
    [{ circuitBreakers: {} }, /circuitBreakers must be an array/],
    [{ circuitBreakers: [() => undefined] }, /circuitBreakers\[0\] must be an object with a method snapshot\(\)/],
    [{ checks: { database: true } }, /checks must be an object of functions/],
    [{ heartbeatMs: 0 }, /heartbeatMs must be a number > 0/],
    [{ info: { title: 5 } }, /info: title must be a string/],
    [{ listTools: [] }, /listTools must be a function/],
    [{ onError: true }, /onError must be a function/],
    [{ runtime: {} }, /runtime must be an object with a method now\(\)/],
  ])("%o", (options, message) => {
    expect(() => create(options)).toThrow(message);
  });

  test.each([undefined, null, 5, {}, { call: 1 }])("%o is no caller", (given) => {
    expect(() => createHttpHandler(given as never)).toThrow(/createHttpHandler: caller must have a method call/);
  });

  test("a caller that cannot say which tools it has needs them named, or a list", () => {
    expect(() => createHttpHandler(caller)).toThrow(/listTools is required, or tools that names them/);
    expect(() => createHttpHandler(caller, { listTools: async () => [] })).not.toThrow();
    expect(() => createHttpHandler(caller, { tools: ["search"] })).not.toThrow();
    expect(() => createHttpHandler(() => caller)).not.toThrow();
  });
});

describe("who opens a handler to others than loopback", () => {
  const open: HttpHandlerOptions = { hosts: ["api.example.com"], listTools: async () => [] };

  test("must say which tools may be called, and by whom", () => {
    expect(() => createHttpHandler(caller, open)).toThrow(/authorize is required where hosts names more than loopback/);
    expect(() => createHttpHandler(caller, { ...open, authorize: () => "me" })).toThrow(
      /tools is required where hosts/,
    );
    expect(() => createHttpHandler(caller, { ...open, tools: ["a"], authorize: () => "me" })).not.toThrow();
    expect(() => createHttpHandler(caller, { ...open, tools: "all", authorize: "anyone" })).not.toThrow();
  });

  test("loopback by its names is no opening", () => {
    const hosts = ["localhost", "127.0.0.1:3000", "[::1]"];
    expect(() => createHttpHandler(caller, { ...open, hosts })).not.toThrow();
    expect(() => createHttpHandler(caller, { ...open, hosts: ["*"] })).toThrow(/authorize is required/);
  });
});
