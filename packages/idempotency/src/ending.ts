import {
  type Call,
  type Execution,
  McpTxError,
  type Outcome,
  OutcomeUnknownError,
  type PastAttempt,
  type ToolResult,
} from "@mcp-tx/core";
import { SharedError } from "./errors.js";
import { endPassage, noteDuplicate, noteExecution } from "./notes.js";
import { replay } from "./outcome-codec.js";

/** What is known of an ending beside what came out. */
export interface EndingFacts {
  readonly outcome: Outcome;
  /** Whether the work behind the key was done: `executed` is final, whoever asks. */
  readonly execution: Execution;
  /** What is recorded of it and given again to everybody but the first; `undefined` where it cannot be written down. */
  readonly text?: string | undefined;
  /** Whether it came from a record. */
  readonly isReplay?: boolean | undefined;
  /** Whether the same call goes on somewhere else. */
  readonly isElsewhere?: boolean | undefined;
  /** The epoch it was reached in. */
  readonly epoch: number;
}

/** How a run ended, for everybody who takes part in it. */
export class Ending {
  /** Whether it is kept in the store; `undefined` where there is nothing to keep, and until that is known. */
  recorded: boolean | undefined;

  constructor(
    readonly thrown: boolean,
    readonly value: unknown,
    readonly facts: EndingFacts,
  ) {}

  /** Whether nobody needs to run it again: it was done, one way or the other. */
  get isFinal(): boolean {
    return this.facts.execution === "executed";
  }

  /** Whether the work was done and failed. */
  get isFailure(): boolean {
    return this.isFinal && this.facts.outcome.status !== "success";
  }

  /** Ends the call that made the run, with the very object that came out. */
  forLeader(call: Call): ToolResult {
    const { isReplay = false, isElsewhere = false } = this.facts;
    const { recorded } = this;
    endPassage(call, isReplay);
    if (isReplay) noteDuplicate(call, recorded);
    else if (recorded !== undefined) call.note({ recorded });
    if (isElsewhere) noteExecution(call, "unknown");
    if (this.thrown) throw this.value;
    // What `next` returned, or what a record gave.
    return this.value as ToolResult;
  }

  /**
   * Ends a call that took part, with something of its own.
   *
   * @param past - what the run left behind, where it is unknown whether it ran
   */
  forParticipant(call: Call, tool: string, past: () => PastAttempt): ToolResult {
    const { execution, text, isElsewhere = false } = this.facts;
    if (this.isFinal) {
      // Another attempt of this very call may still be out.
      endPassage(call, !this.isFailure || call.execution !== "unknown");
      noteDuplicate(call, this.recorded);
      return replay(text, tool);
    }
    if (execution === "unknown") call.adoptAttempt(past());
    endPassage(call, false);
    if (isElsewhere) noteExecution(call, "unknown");
    if (!this.thrown) return replay(text, tool);
    if (execution === "unknown") throw new OutcomeUnknownError(tool, { cause: this.value });
    throw this.#ownRefusal(tool);
  }

  #ownRefusal(tool: string): McpTxError {
    const { value } = this;
    if (McpTxError.isInstance(value)) return new SharedError(value);
    const { outcome } = this.facts;
    return new McpTxError(
      `Tool "${tool}" was not called: another call with the same idempotency key, which this one had joined, could not be sent.`,
      outcome.code ?? "transport_error",
      { cause: value, outcome },
    );
  }
}

/**
 * What a call leaves behind that did not find out how it ended.
 *
 * @param key - the key that travelled with it
 * @param sentAtWall - when it was sent at the earliest, where no attempt tells
 */
export function pastOf(call: Call, key: string, sentAtWall: number): PastAttempt {
  const lost = call.attempts.filter(
    ({ handedOver, outcome }) =>
      handedOver &&
      (outcome === undefined || (outcome.execution === "unknown" && outcome.code !== "idempotency_in_progress")),
  );
  const storeId = lost[0]?.storeId;
  // A store covers them only when it got every one of them, under this key.
  const isCovered = lost.every((attempt) => attempt.key === key && attempt.storeId === storeId);
  const sent = lost.map((attempt) => attempt.sentAtWall ?? sentAtWall);
  return { key, storeId: isCovered ? storeId : undefined, sentAtWall: Math.min(sentAtWall, ...sent) };
}
