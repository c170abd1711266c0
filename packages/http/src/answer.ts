import { reportOf, type ToolResult } from "@mcp-tx/core";
import { Refusal } from "./refusal.js";
import type { CallMetadata, ExecuteToolResponse } from "./types.js";

/** Members of `_meta` that are between client and server. */
const OWN_PREFIX = "dev.mcp-tx/";
const REDACTED: ToolResult = { content: [{ type: "text", text: "The tool failed." }], isError: true };

function publicMeta(meta: ToolResult["_meta"]): ToolResult["_meta"] {
  const entries = Object.entries(meta ?? {}).filter(([name]) => !name.startsWith(OWN_PREFIX));
  return entries.length === 0 ? undefined : Object.fromEntries(entries);
}

function publicResult(result: ToolResult, redacts: boolean): ToolResult {
  if (redacts && result.isError === true) return REDACTED;
  const { _meta, ...rest } = result;
  const meta = publicMeta(_meta);
  return meta === undefined ? rest : { ...rest, _meta: meta };
}

/** A caller of another making gives no report: then this is all that is known. */
function unreported(requestId: string, isError: boolean): CallMetadata {
  const status = isError ? "failed" : "completed";
  return { requestId, attempts: 1, duplicate: false, execution: "executed", status, waitedMs: 0 };
}

function metadataOf(result: ToolResult, requestId: string): CallMetadata {
  const report = reportOf(result);
  if (report === undefined) return unreported(requestId, result.isError === true);
  const { transactionId, attempts, duplicate, execution, status, waitedMs, recorded } = report;
  return {
    requestId: report.requestId,
    ...(transactionId !== undefined && { transactionId }),
    attempts,
    duplicate,
    execution,
    status,
    waitedMs: Math.round(waitedMs),
    ...(recorded !== undefined && { recorded }),
  };
}

/**
 * The JSON of an answer, on one line.
 *
 * @throws Refusal for a result that JSON cannot hold: it may be anything that a local tool returned
 */
export function answerText(result: ToolResult, requestId: string, redacts: boolean): string {
  try {
    const isError = result.isError === true;
    const body: ExecuteToolResponse = {
      success: !isError,
      ...(isError && { isError: true }),
      result: { ...publicResult(result, redacts) },
      metadata: metadataOf(result, requestId),
    };
    return JSON.stringify(body);
  } catch (cause) {
    throw new Refusal("unusable_result", { requestId, execution: "executed", cause });
  }
}
