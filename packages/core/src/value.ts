import type { ToolResult } from "./contract.js";
import { frozen } from "./frozen.js";
import { asBag, VALUE_KEY } from "./wire.js";

const VALUE_META: Readonly<Record<string, unknown>> = frozen({ [VALUE_KEY]: true });

/** All text blocks of a result, one per line; `""` when there are none. */
export function textOf(result: ToolResult): string {
  if (!Array.isArray(result?.content)) return "";
  // Blocks come from strangers: any of them may be no object at all.
  return result.content
    .map(asBag)
    .filter((block) => block?.type === "text" && typeof block.text === "string")
    .map((block) => block?.text)
    .join("\n");
}

/** The value of a result: its structured content, else its text parsed as JSON, else the text itself. */
export function unwrap(result: ToolResult): unknown {
  if (result.structuredContent !== undefined) return result.structuredContent;
  if (result._meta?.[VALUE_KEY] === true) return undefined;
  const text = textOf(result);
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function isToolResult(value: unknown): value is ToolResult {
  const bag = asBag(value);
  return bag !== undefined && (Array.isArray(bag.content) || bag._meta === VALUE_META);
}

/** Makes a ToolResult of whatever a local function returned. */
export function toResult(value: unknown): ToolResult {
  return isToolResult(value) ? value : { structuredContent: value, _meta: VALUE_META };
}

/** Undoes {@link toResult}, also for a copy that travelled through a store. */
export function fromResult(result: ToolResult): unknown {
  return result._meta?.[VALUE_KEY] === true ? result.structuredContent : result;
}
