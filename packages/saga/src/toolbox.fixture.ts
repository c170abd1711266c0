import {
  type CallContext,
  type Caller,
  type Middleware,
  type ToolResult,
  type WrapOptions,
  wrapClient,
} from "@mcp-tx/core";

/** One effect of a tool, as the tool itself logged it. */
export interface Effect {
  readonly tool: string;
  readonly args: Readonly<Record<string, unknown>>;
}

/** What a tool of the box does: gives a value, or throws. */
export type ToolFunction = (args: Readonly<Record<string, unknown>>, run: number) => unknown;

/** Tools that log what they did, and a caller of them. */
export interface Toolbox {
  readonly caller: Caller<unknown>;
  /** What happened, by the tools' own log. */
  readonly effects: readonly Effect[];
  /** Names of the tools in the order of their effects. */
  readonly log: readonly string[];
  /** The contexts that reached a tool. */
  readonly keys: readonly (string | undefined)[];
}

function asResult(value: unknown): ToolResult {
  return { content: [{ type: "text", text: JSON.stringify(value ?? null) }], structuredContent: value };
}

/** Makes a caller of plain functions: a client without a wire, behind the real pipeline. */
export function toolbox(
  tools: Readonly<Record<string, ToolFunction>>,
  middleware: readonly Middleware[] = [],
  options?: WrapOptions,
): Toolbox {
  const effects: Effect[] = [];
  const keys: (string | undefined)[] = [];
  const runs = new Map<string, number>();
  function seen(ctx: CallContext, next: (ctx: CallContext) => Promise<ToolResult>): Promise<ToolResult> {
    keys.push(ctx.options.idempotencyKey);
    return next(ctx);
  }
  const client = {
    async callTool({
      name,
      arguments: args = {},
    }: {
      name: string;
      arguments?: Record<string, unknown>;
    }): Promise<ToolResult> {
      const run = (runs.get(name) ?? 0) + 1;
      runs.set(name, run);
      const tool = tools[name];
      if (tool === undefined) return { content: [{ type: "text", text: `no tool ${name}` }], isError: true };
      effects.push({ tool: name, args });
      try {
        return asResult(await tool(args, run));
      } catch (error) {
        if (error instanceof Lost) throw error;
        return {
          content: [{ type: "text", text: error instanceof Error ? error.message : String(error) }],
          isError: true,
        };
      }
    },
  };
  const caller = wrapClient(client, [...middleware, seen], options) as unknown as Caller<unknown>;
  return {
    caller,
    effects,
    get log() {
      return effects.map(({ tool }) => tool);
    },
    keys,
  };
}

/** The answer of a tool was lost: nobody knows what it did. */
export class Lost extends Error {
  override readonly name = "Lost";
}
