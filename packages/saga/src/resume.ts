import { TURN, type Turn } from "./interpreter.js";
import type { JournalLine, JournalState, Reopened, UnitState } from "./journal.js";

function isCompensation(unit: string): boolean {
  const path = JSON.parse(unit) as readonly string[];
  return path.at(-1) !== "action";
}

/**
 * What is opened again of a stuck saga. Where it had turned back, its failed compensations, and unknown actions only to find out what
 * became of them: run again they would have an effect that nobody undoes any more. Where it could not go on, whatever did not get done.
 */
export function reopening({ units, memories }: JournalState): Extract<JournalLine, { type: "resume" }> {
  const turn = memories.get(TURN) as Turn | undefined;
  const goesBack = turn?.direction === "back";
  const opens = ([unit, { end }]: [string, UnitState]): readonly Reopened[] => {
    if (end === undefined || end.status === "completed") return [];
    if (!goesBack || isCompensation(unit)) return [{ unit, onlyVerify: false }];
    return end.status === "unknown" ? [{ unit, onlyVerify: true }] : [];
  };
  return { type: "resume", units: [...units].flatMap(opens), forgets: goesBack ? [] : [TURN] };
}
