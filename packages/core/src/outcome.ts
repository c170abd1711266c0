import type { Outcome, ToolResult } from "./contract.js";
import { frozen } from "./frozen.js";

/** The tool ran and gave a result. */
export const SUCCESS: Outcome = frozen({ status: "success", execution: "executed", transient: false });

/** The tool ran and reports a failure, or threw. */
export const TOOL_FAILED: Outcome = frozen({
  status: "failure",
  execution: "executed",
  transient: false,
  code: "tool_error",
});

/** What a result says by itself, where no wire has more evidence. */
export function outcomeOfResult(result: ToolResult | undefined): Outcome {
  return result?.isError === true ? TOOL_FAILED : SUCCESS;
}
