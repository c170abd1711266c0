import { type Call, createKey, type Execution } from "@mcp-tx/core";

/**
 * On a call of whose passage the report was told something that need not hold for the next one: a repetition further out sends
 * one call through several times, and what is noted stays noted.
 */
const Passing = createKey<true>("@mcp-tx/idempotency.passing");

/** Notes that the call was answered without being made. */
export function noteDuplicate(call: Call, recorded: boolean | undefined): void {
  call.set(Passing, true);
  call.note({ duplicate: true, recorded });
}

/** Notes whether the work was done, where the attempts of this call do not tell. */
export function noteExecution(call: Call, execution: Execution): void {
  call.set(Passing, true);
  call.note({ execution });
}

/** Takes back, when the call comes again, what an earlier passage came to. */
export function beginPassage(call: Call): void {
  if (call.get(Passing) === true) call.note({ duplicate: false, recorded: undefined, execution: call.execution });
}

/** Brings the report up to date when a passage ends. */
export function endPassage(call: Call, isDone: boolean): void {
  if (call.get(Passing) === true) call.note({ execution: isDone ? "executed" : call.execution });
}
