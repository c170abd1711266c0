import { Validator } from "@cfworker/json-schema";
import type { ToolInfo } from "@mcp-tx/core";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { embedSchema } from "./embed-schema.js";
import { type SceneOptions, scene, TOOLS } from "./front.fixture.js";

async function documentOf(options: SceneOptions = {}) {
  const { get } = scene(options);
  const { status, json } = await get("/openapi.json");
  expect(status).toBe(200);
  return json;
}

/** The references in a document that lead nowhere. */
function danglingIn(document: unknown): readonly string[] {
  const found: string[] = [];
  const visit = (value: unknown): void => {
    if (typeof value !== "object" || value === null) return;
    const { $ref } = value as { readonly $ref?: unknown };
    if (typeof $ref === "string" && at(document, $ref) === undefined) found.push($ref);
    for (const member of Object.values(value)) visit(member);
  };
  visit(document);
  return found;
}

function at(document: unknown, ref: string): unknown {
  const names = ref
    .slice(2)
    .split("/")
    .map((name) => decodeURIComponent(name).replaceAll("~1", "/").replaceAll("~0", "~"));
  return names.reduce<unknown>((value, name) => (value as Record<string, unknown> | undefined)?.[name], document);
}

const NODE: ToolInfo = {
  name: "tree/grow now",
  title: "Grow",
  inputSchema: {
    $schema: "http://json-schema.org/draft-07/schema#",
    $id: "https://example.com/tree",
    type: "object",
    properties: {
      node: { $ref: "#/definitions/node" },
      self: { $ref: "#" },
      at: { type: "array", items: [{ type: "number" }], additionalItems: false },
      $ref: { type: "string" },
      example: { type: "string", default: { $ref: "#/data" } },
    },
    required: ["node"],
    definitions: { node: { type: "object", properties: { next: { $ref: "#/definitions/node" } } } },
  },
};

describe("the document", () => {
  test("describes every tool that is offered, by one operation whose body differs by tool", async () => {
    const document = await documentOf({ tools: ["search", "pay"], info: { title: "Sea", version: "2.0.0" } });
    expect(document).toMatchObject({ openapi: "3.1.0", info: { title: "Sea", version: "2.0.0" } });
    const { schema } = document.paths["/execute-tool"].post.requestBody.content["application/json"];
    expect(schema.discriminator).toEqual({
      propertyName: "tool",
      mapping: { search: "#/components/schemas/Tool1_search", pay: "#/components/schemas/Tool2_pay" },
    });
    expect(schema.oneOf).toHaveLength(2);
    expect(document.components.schemas.Tool1_search).toMatchObject({
      description: "Finds things",
      properties: { tool: { const: "search" }, arguments: TOOLS[0]?.inputSchema },
      required: ["tool", "arguments"],
      additionalProperties: false,
    });
    expect(document.components.schemas.Tool2_pay.required).toEqual(["tool"]);
  });

  test("is one of basePath, with a scheme where callers must say who they are", async () => {
    const { get } = scene({ basePath: "/mcp", authorize: () => "ann" });
    const { json: document } = await get("/mcp/openapi.json");
    expect(Object.keys(document.paths)).toEqual([
      "/mcp/execute-tool",
      "/mcp/tools",
      "/mcp/health",
      "/mcp/livez",
      "/mcp/readyz",
    ]);
    expect(document.security).toEqual([{ caller: [] }]);
    expect(document.paths["/mcp/livez"].get.security).toEqual([]);
    expect((await documentOf()).security).toBeUndefined();
  });

  test("documents every status of the table", async () => {
    const { responses } = (await documentOf()).paths["/execute-tool"].post;
    const statuses = [200, 400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 500, 502, 503, 504];
    expect(Object.keys(responses).map(Number)).toEqual(expect.arrayContaining(statuses));
    for (const status of [409, 429, 503]) expect(responses[status].headers).toHaveProperty("Retry-After");
  });

  test("leads nowhere else: references of schemas are those of their new place", async () => {
    const listTools = async () => [NODE, ...TOOLS];
    const document = await documentOf({ listTools });
    expect(danglingIn({ ...document, components: { schemas: { ...document.components.schemas } } })).toEqual([
      "#/data",
    ]);
    const { arguments: embedded } = document.components.schemas["Tool1_tree_grow_now"].properties;
    const place = "#/components/schemas/Tool1_tree_grow_now/properties/arguments";
    expect(embedded.properties).toMatchObject({
      node: { $ref: `${place}/definitions/node` },
      self: { $ref: place },
      $ref: { type: "string" },
      example: { default: { $ref: "#/data" } },
      at: { prefixItems: [{ type: "number" }], items: false },
    });
    expect(embedded.$schema).toBeUndefined();
    expect(embedded.$id).toBeUndefined();
  });

  test("takes what the schema that validates tells of itself", async () => {
    const shape = z.object({ sku: z.string(), count: z.number().default(1) });
    const input = {
      "~standard": { ...shape["~standard"], jsonSchema: { input: () => z.toJSONSchema(shape, { io: "input" }) } },
    };
    const document = await documentOf({ tools: { search: { input } } });
    const { arguments: embedded } = document.components.schemas.Tool1_search.properties;
    expect(embedded).toMatchObject({ type: "object", properties: { sku: { type: "string" } }, required: ["sku"] });
    const silent = {
      "~standard": {
        ...input["~standard"],
        jsonSchema: {
          input: () => {
            throw new Error("no");
          },
        },
      },
    };
    const other = await documentOf({ tools: { search: { input: silent } } });
    expect(other.components.schemas.Tool1_search.properties.arguments.required).toEqual(["query"]);
  });

  test("its schemas take what the handler answers", async () => {
    const document = await documentOf();
    const { execute } = scene();
    const validate = (name: string, value: unknown) => {
      const schema = { $ref: `#/components/schemas/${name}`, components: document.components };
      return new Validator(schema as never, "2020-12").validate(value).errors;
    };
    expect(validate("ExecuteToolResponse", (await execute({ tool: "pay" })).json)).toEqual([]);
    expect(validate("Problem", (await execute({ tool: "search" })).json)).toEqual([]);
    expect(validate("Problem", {})).not.toEqual([]);
    expect(validate("Tool1_search", { tool: "search", arguments: { query: "x" }, timeoutMs: 5 })).toEqual([]);
    expect(validate("Tool1_search", { tool: "search", arguments: { query: 5 } })).not.toEqual([]);
  });

  test("without tools takes no body", async () => {
    const document = await documentOf({ listTools: async () => [] });
    expect(document.paths["/execute-tool"].post.requestBody.content["application/json"].schema).toBe(false);
  });
});

test("a schema without end is cut", () => {
  const endless: Record<string, unknown> = { type: "object" };
  endless["properties"] = { next: endless };
  expect(() => JSON.stringify(embedSchema(endless, "#/x"))).not.toThrow();
});
