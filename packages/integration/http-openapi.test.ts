import { createHttpHandler, type HttpHandlerOptions } from "@mcp-tx/http";
import { validate } from "@readme/openapi-parser";
import { describe, expect, test } from "vitest";
import { z } from "zod";

/** The document of a handler by the meta-schema of OpenAPI 3.1 and the parser's own rules. */

const order = z.object({
  sku: z.string().min(1),
  items: z.array(z.object({ count: z.int().positive() })).default([]),
  note: z.string().nullable().optional(),
});
const TREE = {
  $schema: "http://json-schema.org/draft-07/schema#",
  $id: "https://example.com/tree",
  type: "object",
  properties: { node: { $ref: "#/definitions/node" }, at: { type: "array", items: [{ type: "number" }] } },
  definitions: { node: { type: "object", properties: { next: { $ref: "#/definitions/node" } } } },
};
const TOOLS = [
  { name: "order", title: "Order", description: "Orders things", inputSchema: z.toJSONSchema(order) },
  { name: "files/read.all", inputSchema: TREE },
  { name: "日本語", inputSchema: { type: "object", additionalProperties: true } },
  { name: "bare" },
];

async function documentOf(options: HttpHandlerOptions): Promise<object> {
  const refuse = () => Promise.reject(new Error("nobody calls"));
  const handler = createHttpHandler({ call: refuse, invoke: refuse }, options);
  const path = `http://localhost${options.basePath ?? ""}/openapi.json`;
  return (await handler.fetch(new Request(path))).json() as Promise<object>;
}

describe("the OpenAPI document is valid", () => {
  test.each<[string, HttpHandlerOptions]>([
    ["with schemas of every kind", { listTools: async () => TOOLS }],
    ["of an open server", { listTools: async () => TOOLS, authorize: () => "ann", basePath: "/mcp" }],
    ["with one tool", { tools: ["bare"] }],
    ["without tools", { listTools: async () => [] }],
  ])("%s", async (_name, options) => {
    const verdict = await validate((await documentOf(options)) as never);
    expect(verdict).toMatchObject({ valid: true, warnings: [] });
  });

  test("and the check finds what is wrong", async () => {
    const document = {
      ...(await documentOf({ listTools: async () => TOOLS })),
      paths: { "/x": { get: { responses: 5 } } },
    };
    expect((await validate(document as never)).valid).toBe(false);
  });
});
