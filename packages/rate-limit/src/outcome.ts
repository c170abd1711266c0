import type { Call, Outcome } from "@mcp-tx/core";

/** What a call came to; `undefined` for a value that cannot even be looked at, which goes on as it is. */
export function outcomeOf(call: Call, value: unknown, thrown: boolean): Outcome | undefined {
  try {
    return call.outcomeOf(value, thrown);
  } catch {
    return undefined;
  }
}
