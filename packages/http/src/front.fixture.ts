import {
  type Caller,
  type Middleware,
  pipeline,
  run,
  type ToolInfo,
  type ToolResult,
  type WrapOptions,
} from "@mcp-tx/core";
import { type ScriptedStep, type ScriptedTool, scriptedTool } from "@mcp-tx/core/testing";
import { createHttpHandler } from "./create-handler.js";
import type { HttpHandler, HttpHandlerOptions, RequestDetails } from "./types.js";

/** A handler over a scripted tool, and how tests talk to it. */

export const OK: ToolResult = { content: [{ type: "text", text: "done" }] };

/** The tools that the scripted server has. */
export const TOOLS: readonly ToolInfo[] = [
  {
    name: "search",
    description: "Finds things",
    inputSchema: { type: "object", properties: { query: { type: "string" } }, required: ["query"] },
  },
  { name: "pay", inputSchema: { type: "object" }, _meta: { internal: true } },
  { name: "secret" },
];

/** A caller whose pipeline ends in a script. */
export function callerOf(tool: ScriptedTool, middleware: readonly Middleware[] = [], wrap: WrapOptions = {}): Caller {
  const handler = pipeline(middleware, tool);
  return {
    call: (name, args, options) => run(handler, { tool: name, args, options }, wrap),
    invoke: () => Promise.reject(new Error("nobody invokes")),
  };
}

/** An answer with its body read. */
export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into bodies of any shape
  readonly json: any;
}

export async function read(response: Response): Promise<Answer> {
  const text = await response.text();
  const isJson = response.headers.get("content-type")?.includes("json") === true && text !== "";
  return { status: response.status, headers: response.headers, text, json: isJson ? JSON.parse(text) : undefined };
}

export interface SceneOptions extends HttpHandlerOptions {
  readonly steps?: readonly ScriptedStep[] | undefined;
  readonly middleware?: readonly Middleware[] | undefined;
  readonly wrap?: WrapOptions | undefined;
}

export interface Scene {
  readonly handler: HttpHandler;
  readonly tool: ScriptedTool;
  /** What `onError` was told. */
  readonly errors: unknown[];
  get(path: string, headers?: Readonly<Record<string, string>>): Promise<Answer>;
  execute(body: unknown, headers?: Readonly<Record<string, string>>, given?: RequestDetails): Promise<Answer>;
}

export const JSON_HEADERS: Readonly<Record<string, string>> = { "content-type": "application/json" };

/** A request to call a tool. */
export function post(
  body: unknown,
  headers: Readonly<Record<string, string>> = {},
  init: { readonly signal?: AbortSignal } = {},
): Request {
  const text = typeof body === "string" ? body : JSON.stringify(body);
  return new Request("http://localhost/execute-tool", {
    method: "POST",
    headers: { ...JSON_HEADERS, ...headers },
    body: text,
    ...init,
  });
}

/** A handler over a script; without one, every call gives {@link OK}. */
export function scene({ steps = [{ result: OK }], middleware, wrap, ...options }: SceneOptions = {}): Scene {
  const tool = scriptedTool(steps, { repeatLast: true });
  const errors: unknown[] = [];
  const handler = createHttpHandler(callerOf(tool, middleware, wrap), {
    listTools: async () => TOOLS,
    onError: (error) => errors.push(error),
    ...options,
  });
  return {
    handler,
    tool,
    errors,
    get: async (path, headers = {}) => read(await handler.fetch(new Request(`http://localhost${path}`, { headers }))),
    execute: async (body, headers, given) => read(await handler.fetch(post(body, headers), given)),
  };
}
