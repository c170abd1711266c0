import type { ToolInfo } from "@mcp-tx/core";
import { embedSchema } from "./embed-schema.js";
import { MAX_KEY_LENGTH } from "./idempotency-key.js";
import { KINDS, type ProblemCode } from "./problem-codes.js";
import type { InputSchema } from "./types.js";

type Bag = Readonly<Record<string, unknown>>;

/** What a document is made from. */
export interface DocumentSource {
  readonly info: { readonly title: string; readonly version: string };
  readonly basePath: string;
  readonly tools: readonly ToolInfo[];
  readonly inputOf: (tool: string) => InputSchema | undefined;
  readonly maxTimeoutMs: number;
  /** Whether callers must say who they are. */
  readonly isProtected: boolean;
}

const SCHEMAS = "#/components/schemas/";
const ANY_OBJECT: Bag = { type: "object" };
const INTEGER: Bag = { type: "integer", minimum: 0 };
const EXECUTION: Bag = { enum: ["executed", "not-executed", "unknown"] };

/** A name for a component, of the characters that one may have; unique by the tool's place. */
function componentName(tool: string, index: number): string {
  return `Tool${index + 1}_${tool.replaceAll(/[^\w.-]/g, "_")}`;
}

/** The schema that validates, where it can tell what it takes. */
function argumentsSchema({ inputSchema }: ToolInfo, input: InputSchema | undefined): unknown {
  const tell = input?.["~standard"].jsonSchema?.input;
  if (tell === undefined) return inputSchema ?? ANY_OBJECT;
  try {
    return tell({ target: "draft-2020-12" });
  } catch {
    // Not every schema can be written down.
    return inputSchema ?? ANY_OBJECT;
  }
}

function isRequired(schema: unknown): boolean {
  const { required } = schema as { readonly required?: unknown };
  return Array.isArray(required) && required.length > 0;
}

function requestSchema(tool: ToolInfo, name: string, { inputOf, maxTimeoutMs }: DocumentSource): Bag {
  const given = argumentsSchema(tool, inputOf(tool.name));
  const schema = embedSchema(given, `${SCHEMAS}${name}/properties/arguments`);
  return {
    type: "object",
    ...(tool.title !== undefined && { title: tool.title }),
    ...(tool.description !== undefined && { description: tool.description }),
    properties: {
      tool: { const: tool.name },
      arguments: schema,
      idempotencyKey: { type: "string", minLength: 1, maxLength: MAX_KEY_LENGTH },
      timeoutMs: { type: "number", exclusiveMinimum: 0, description: `Milliseconds; at most ${maxTimeoutMs} count.` },
    },
    required: isRequired(given) ? ["tool", "arguments"] : ["tool"],
    additionalProperties: false,
  };
}

const RESPONSE: Bag = {
  type: "object",
  properties: {
    success: { type: "boolean" },
    isError: { const: true },
    result: {
      type: "object",
      properties: {
        content: { type: "array", items: ANY_OBJECT },
        structuredContent: {},
        isError: { type: "boolean" },
      },
    },
    metadata: {
      type: "object",
      properties: {
        requestId: { type: "string" },
        transactionId: { type: "string" },
        attempts: INTEGER,
        duplicate: { type: "boolean" },
        execution: EXECUTION,
        status: { enum: ["completed", "failed", "rejected", "cancelled", "timeout", "unknown"] },
        waitedMs: INTEGER,
        recorded: { type: "boolean" },
      },
      required: ["requestId", "attempts", "duplicate", "execution", "status", "waitedMs"],
    },
  },
  required: ["success", "result", "metadata"],
};

const POINTER: Bag = {
  type: "object",
  properties: { pointer: { type: "string" }, detail: { type: "string" } },
  required: ["pointer", "detail"],
};

const PROBLEM: Bag = {
  type: "object",
  description: "RFC 9457",
  properties: {
    type: { type: "string", format: "uri" },
    title: { type: "string" },
    status: { type: "integer" },
    detail: { type: "string" },
    code: { enum: Object.keys(KINDS) },
    reason: { type: "string" },
    requestId: { type: "string" },
    execution: EXECUTION,
    retryAfterMs: INTEGER,
    errors: { type: "array", items: POINTER },
  },
  required: ["type", "title", "status", "detail", "code", "requestId"],
};

function header(description: string, schema: Bag): Bag {
  return { description, schema };
}

const RETRY_AFTER: Bag = header("Seconds after which to call again.", INTEGER);
const TEXT: Bag = { type: "string" };

/** Headers by status, beside those of every answer. */
const STATUS_HEADERS: Readonly<Record<number, Bag>> = {
  401: { "WWW-Authenticate": header("How to authenticate.", TEXT) },
  409: { "Retry-After": RETRY_AFTER },
  429: {
    "Retry-After": RETRY_AFTER,
    RateLimit: header("What is left of the limits.", TEXT),
    "RateLimit-Policy": header("The limits.", TEXT),
  },
  503: { "Retry-After": RETRY_AFTER },
};

/** Problems that any route may answer with, and those that only calls end with. */
const COMMON: readonly ProblemCode[] = ["unauthorized", "forbidden", "internal_error", "transport_error"];
const UNDOCUMENTED: readonly ProblemCode[] = ["not_found", "method_not_allowed", "cancelled"];

function problemResponses(codes: readonly ProblemCode[]): Readonly<Record<string, Bag>> {
  const byStatus = new Map<number, ProblemCode[]>();
  for (const code of codes) {
    const { status } = KINDS[code];
    byStatus.set(status, [...(byStatus.get(status) ?? []), code]);
  }
  const responses = [...byStatus].map(([status, found]): [string, Bag] => {
    const headers = STATUS_HEADERS[status];
    const content = { "application/problem+json": { schema: { $ref: `${SCHEMAS}Problem` } } };
    return [String(status), { description: found.join(", "), ...(headers !== undefined && { headers }), content }];
  });
  return Object.fromEntries(responses);
}

function callOperation(names: readonly string[], tools: readonly ToolInfo[]): Bag {
  const mapping = Object.fromEntries(tools.map(({ name }, index) => [name, `${SCHEMAS}${names[index]}`]));
  const oneOf = names.map((name) => ({ $ref: SCHEMAS + name }));
  const schema = names.length === 0 ? false : { oneOf, discriminator: { propertyName: "tool", mapping } };
  const codes = (Object.keys(KINDS) as ProblemCode[]).filter((code) => !UNDOCUMENTED.includes(code));
  const key = { name: "Idempotency-Key", in: "header", schema: TEXT };
  return {
    operationId: "executeTool",
    summary: "Calls a tool",
    parameters: [{ ...key, description: "A structured-field string. The same call with the same key is made once." }],
    requestBody: { required: true, content: { "application/json": { schema } } },
    responses: {
      "200": {
        description: "The tool ran; `success` says whether it did what it was asked.",
        content: {
          "application/json": { schema: { $ref: `${SCHEMAS}ExecuteToolResponse` } },
          "text/event-stream": {
            schema: { ...TEXT, description: "Events `progress`, and at last one `result` or `problem`." },
          },
        },
      },
      ...problemResponses(codes),
    },
  };
}

function listOperation(): Bag {
  const query = (name: string, schema: Bag): Bag => ({ name, in: "query", schema });
  const tool = { type: "object", properties: { name: TEXT, inputSchema: {}, outputSchema: {} }, required: ["name"] };
  const page = {
    type: "object",
    properties: { tools: { type: "array", items: tool }, nextCursor: TEXT },
    required: ["tools"],
  };
  return {
    operationId: "listTools",
    summary: "Lists the tools",
    parameters: [query("cursor", TEXT), query("limit", { type: "integer", minimum: 1, maximum: 1000 })],
    responses: {
      "200": { description: "A page of tools.", content: { "application/json": { schema: page } } },
      ...problemResponses(["bad_request", ...COMMON]),
    },
  };
}

function healthOperation(operationId: string, summary: string): Bag {
  const schema = { type: "object", properties: { status: { enum: ["pass", "warn", "fail"] } }, required: ["status"] };
  const content = { "application/health+json": { schema } };
  return {
    operationId,
    summary,
    security: [],
    responses: { "200": { description: "pass or warn", content }, "503": { description: "fail", content } },
  };
}

/** The OpenAPI 3.1 document of a handler: one operation for all tools, whose body differs by `tool`. */
export function openApiDocument(source: DocumentSource): Bag {
  const { info, basePath, tools, isProtected } = source;
  const names = tools.map(({ name }, index) => componentName(name, index));
  const bodies = tools.map((tool, index): [string, Bag] => {
    const name = names[index] ?? "";
    return [name, requestSchema(tool, name, source)];
  });
  const scheme = { type: "http", scheme: "bearer" };
  return {
    openapi: "3.1.0",
    info,
    paths: {
      [`${basePath}/execute-tool`]: { post: callOperation(names, tools) },
      [`${basePath}/tools`]: { get: listOperation() },
      [`${basePath}/health`]: { get: healthOperation("health", "How the server is") },
      [`${basePath}/livez`]: { get: healthOperation("livez", "Whether the server is alive") },
      [`${basePath}/readyz`]: { get: healthOperation("readyz", "Whether the server takes calls") },
    },
    ...(isProtected && { security: [{ caller: [] }] }),
    components: {
      schemas: { ...Object.fromEntries(bodies), ExecuteToolResponse: RESPONSE, Problem: PROBLEM },
      ...(isProtected && { securitySchemes: { caller: scheme } }),
    },
  };
}
