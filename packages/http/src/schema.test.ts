import type { ToolInfo } from "@mcp-tx/core";
import { virtualTime } from "@mcp-tx/core/testing";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { type SceneOptions, scene } from "./front.fixture.js";
import type { InputSchema } from "./types.js";

function withSchema(inputSchema: Record<string, unknown>, options: SceneOptions = {}) {
  const tools: readonly ToolInfo[] = [{ name: "tool", inputSchema }];
  const { execute, tool, errors } = scene({ listTools: async () => tools, ...options });
  return { tool, errors, call: (args: unknown) => execute({ tool: "tool", arguments: args }) };
}

const ORDER = {
  type: "object",
  properties: {
    sku: { type: "string", minLength: 2 },
    items: { type: "array", items: { $ref: "#/$defs/item" } },
    "a/b": { type: "number" },
  },
  required: ["sku"],
  additionalProperties: false,
  $defs: { item: { type: "object", properties: { count: { type: "integer", minimum: 1 } } } },
};

describe("arguments that do not fit the server's schema", () => {
  test.each([
    [{}, ["#/arguments"]],
    [{ sku: 5 }, ["#/arguments/sku"]],
    [{ sku: "x" }, ["#/arguments/sku"]],
    [{ sku: "ab", items: [{ count: 1 }, { count: 0 }] }, ["#/arguments/items/1/count"]],
    [{ sku: "ab", "a/b": "no" }, ["#/arguments/a~1b"]],
    [{ sku: 5, items: [{ count: "x" }] }, ["#/arguments/sku", "#/arguments/items/0/count"]],
  ])("%j: 422, where they do not", async (args, pointers) => {
    const { call, tool } = withSchema(ORDER);
    const { status, json } = await call(args);
    expect({ status, code: json.code }).toEqual({ status: 422, code: "invalid_arguments" });
    const found: readonly { pointer: string; detail: string }[] = json.errors;
    for (const pointer of pointers) expect(found.map((error) => error.pointer)).toContain(pointer);
    for (const { detail } of found) expect(detail.length).toBeGreaterThan(3);
    expect(tool.executions).toBe(0);
  });

  test("members that the schema does not have are told", async () => {
    const { call, tool } = withSchema(ORDER);
    expect((await call({ sku: "ab", colour: "red" })).json.errors[0].pointer).toMatch(/^#\/arguments/);
    expect(tool.executions).toBe(0);
  });

  test("arguments that fit reach the tool as they are", async () => {
    const { call, tool } = withSchema(ORDER);
    const args = { sku: "ab", items: [{ count: 2 }], "a/b": 1.5 };
    expect((await call(args)).status).toBe(200);
    expect(tool.contexts[0]?.args).toEqual(args);
  });

  test("of a large body only the first error is looked for", async () => {
    const { call } = withSchema(ORDER);
    const items = Array.from({ length: 20_000 }, () => ({ count: "x" }));
    const { status, json } = await call({ sku: 5, items });
    expect(status).toBe(422);
    expect(json.errors).toHaveLength(1);
  });

  test("drafts before 2020-12 are understood", async () => {
    const tuple = {
      type: "object",
      properties: { at: { type: "array", items: [{ type: "number" }], additionalItems: false } },
    };
    const { call } = withSchema({ $schema: "http://json-schema.org/draft-07/schema#", ...tuple });
    expect((await call({ at: [1] })).status).toBe(200);
    expect((await call({ at: ["x"] })).status).toBe(422);
    expect((await call({ at: [1, 2] })).status).toBe(422);
  });

  test("what must be unique is bounded: each is compared with each other", async () => {
    const { call, tool } = withSchema({ type: "object", properties: { ids: { type: "array", uniqueItems: true } } });
    expect((await call({ ids: [1, 2, 1] })).status).toBe(422);
    const { status, json } = await call({ ids: Array.from({ length: 100_000 }, (_, index) => index) });
    expect(status).toBe(422);
    expect(json.errors).toEqual([{ pointer: "#/arguments/ids", detail: "has more than 1000 items" }]);
    expect((await call({ ids: Array.from({ length: 1000 }, (_, index) => index) })).status).toBe(200);
    expect(tool.executions).toBe(1);
  });

  test("names and values of a request cannot break the answer", async () => {
    await fc.assert(
      fc.asyncProperty(fc.dictionary(fc.string({ unit: "binary" }), fc.jsonValue()), async (args) => {
        const { call } = withSchema({ type: "object", additionalProperties: { type: "null" } });
        const { status, json } = await call(args);
        expect([200, 400, 422]).toContain(status);
        if (status === 422) for (const { pointer } of json.errors) expect(pointer).toMatch(/^#\/arguments/);
      }),
      { numRuns: 100 },
    );
  });
});

describe("a schema that cannot be used lets nothing through", () => {
  test.each<[string, Record<string, unknown>]>([
    ["a reference that leads nowhere", { $ref: "#/$defs/missing" }],
    [
      "a reference to somewhere else",
      { properties: { a: { $ref: "https://example.com/schema.json" } }, required: ["a"] },
    ],
    ["a reference to itself", { $ref: "#" }],
    ["a pattern that is none", { properties: { a: { pattern: "(" } } }],
  ])("%s: 500", async (_name, inputSchema) => {
    const { call, tool, errors } = withSchema(inputSchema);
    expect(await call({ a: "x" })).toMatchObject({
      status: 500,
      json: { code: "unusable_schema", execution: "not-executed" },
    });
    expect(errors).toHaveLength(1);
    expect(tool.executions).toBe(0);
  });

  test("the server's own copy is not changed", async () => {
    const frozen = JSON.parse(JSON.stringify(ORDER), (_key, value) => Object.freeze(value)) as Record<string, unknown>;
    expect((await withSchema(frozen).call({ sku: "ab" })).status).toBe(200);
  });
});

describe("a Standard Schema of the user's", () => {
  const input = z.object({ sku: z.string().trim(), count: z.coerce.number().int().default(1) }) satisfies InputSchema;

  test("takes the place of the server's, and the tool gets what it makes of the arguments", async () => {
    const { call, tool } = withSchema({ type: "object", required: ["never"] }, { tools: { tool: { input } } });
    expect((await call({ sku: " ab ", count: "7" })).status).toBe(200);
    expect((await call({ sku: "ab" })).status).toBe(200);
    expect(tool.contexts.map(({ args }) => args)).toEqual([
      { sku: "ab", count: 7 },
      { sku: "ab", count: 1 },
    ]);
  });

  test("says what is wrong, and where", async () => {
    const { call, tool } = withSchema(
      {},
      { tools: { tool: { input: z.object({ list: z.array(z.object({ "a b": z.number() })) }) } } },
    );
    const { status, json } = await call({ list: [{ "a b": 1 }, { "a b": "x" }] });
    expect(status).toBe(422);
    expect(json.errors).toEqual([{ pointer: "#/arguments/list/1/a%20b", detail: expect.stringContaining("number") }]);
    expect(tool.executions).toBe(0);
  });

  test("may take its time", async () => {
    const slow = z.object({ sku: z.string().refine(async (sku) => sku !== "gone", "is sold out") });
    const { call } = withSchema({}, { tools: { tool: { input: slow } } });
    expect((await call({ sku: "ab" })).status).toBe(200);
    expect((await call({ sku: "gone" })).json.errors).toEqual([{ pointer: "#/arguments/sku", detail: "is sold out" }]);
  });

  test("that never answers is not waited for longer than connectTimeoutMs", async () => {
    const time = virtualTime();
    const hung = {
      "~standard": { version: 1, vendor: "test", validate: () => new Promise<never>(() => undefined) },
    } as const;
    const options = { tools: { tool: { input: hung } }, connectTimeoutMs: 60, runtime: time.runtime };
    const { call, tool } = withSchema({}, options);
    expect(await time.run(call({}))).toMatchObject({ status: 500, json: { code: "unusable_schema" } });
    expect(time.now()).toBe(60);
    expect(tool.executions).toBe(0);
  });

  test.each<[string, InputSchema["~standard"]["validate"]]>([
    [
      "throws",
      () => {
        throw new Error("s3cr3t");
      },
    ],
    ["rejects", () => Promise.reject(new Error("s3cr3t"))],
    ["gives a text", () => ({ value: "text" })],
    ["gives a list", () => ({ value: [] })],
  ])("that %s: 500, nothing runs", async (_name, validate) => {
    const broken = { "~standard": { version: 1, vendor: "test", validate } } as const;
    const { call, tool } = withSchema({}, { tools: { tool: { input: broken } } });
    const { status, json, text } = await call({});
    expect({ status, code: json.code }).toEqual({ status: 500, code: "unusable_schema" });
    expect(text).not.toContain("s3cr3t");
    expect(tool.executions).toBe(0);
  });
});
