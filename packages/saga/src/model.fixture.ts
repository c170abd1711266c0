/** The rules of sagas, written down once more and as simply as possible: no journal, no signals, no promises. Time is a number. */

/** What becomes of one call. `fails`: the tool ran and says so; `lost`: it ran and the answer was lost; `dropped`: it never got there. */
export type Fate = "ok" | "fails" | "refused" | "lost" | "dropped" | "hangs" | "unkeepable";

/** The calls of one tool: what becomes of each, the last one for ever; and how patiently it is called. */
export interface Script {
  readonly tool: string;
  readonly fates: readonly Fate[];
  readonly maxAttempts: number;
  readonly ms: number;
  readonly isUndo: boolean;
}

export interface StepPlan {
  readonly kind: "step";
  readonly name: string;
  readonly action: Script;
  readonly undo?: Script | undefined;
  readonly badArgs: boolean;
  readonly atomic: boolean;
  readonly forward: boolean;
  readonly pivot: boolean;
  readonly readOnly: boolean;
}
export type NodePlan =
  | StepPlan
  | { readonly kind: "parallel"; readonly steps: readonly StepPlan[] }
  | { readonly kind: "nested"; readonly name: string; readonly nodes: readonly NodePlan[]; readonly badInput: boolean };

/** One saga in one world. */
export interface Plan {
  readonly nodes: readonly NodePlan[];
  readonly server: "plain" | "announces" | "verifies";
  /** When the saga is to stop, and when calls that are under way are aborted. */
  readonly stopAt: number;
  readonly lateAt: number;
}

/** Milliseconds after which a call without an answer ends. */
export const TIMEOUT_MS = 50;
/** Calls that are made at least to find out what became of an unknown one. */
export const SETTLING_CALLS = 3;

interface End {
  readonly status: "completed" | "failed" | "unknown" | "not-run";
  readonly at: number;
  /** The tool did what it was asked for: only what it gave is of no use. */
  readonly isDone?: boolean;
}
interface Begun {
  readonly label: string;
  readonly step: StepPlan;
  readonly forward: boolean;
  readonly end: End;
  undone?: End;
}
type Results = Record<string, unknown>;

/** What a run of the plan must come to. */
export interface Prediction {
  readonly status: "completed" | "compensated" | "stuck";
  readonly results: Results;
  readonly compensated: readonly string[];
  readonly failedCompensations: readonly string[];
  readonly unknown: readonly string[];
  readonly steps: readonly (readonly [step: string, status: string, undone: string | undefined])[];
  readonly log: readonly string[];
}

class Model {
  readonly #plan: Plan;
  readonly #runs: { readonly at: number; readonly tool: string }[] = [];
  readonly #begun: Begun[] = [];
  #now = 0;
  #isPastPivot = false;

  constructor(plan: Plan) {
    this.#plan = plan;
  }

  predict(): Prediction {
    const results: Results = {};
    const turn = this.#walk(this.#plan.nodes, "", results);
    const order: Begun[] = turn === "back" ? this.#undoAll() : [];
    const named = (of: readonly Begun[]): string[] => of.map(({ label }) => label);
    const compensated = named(order.filter(({ undone }) => undone?.status === "completed"));
    const failedCompensations = named(order.filter(({ undone }) => undone?.status !== "completed"));
    const unknown = named(this.#begun.filter(({ end }) => end.status === "unknown"));
    const isStuck = turn === "nowhere" || failedCompensations.length + unknown.length > 0;
    return {
      status: turn === undefined ? "completed" : isStuck ? "stuck" : "compensated",
      results,
      compensated,
      failedCompensations,
      unknown,
      steps: this.#begun.map(({ label, end, undone }) => [label, end.status, undone?.status]),
      log: this.#runs.sort((one, other) => one.at - other.at).map(({ tool }) => tool),
    };
  }

  #walk(nodes: readonly NodePlan[], path: string, results: Results): "back" | "nowhere" | undefined {
    for (const node of nodes) {
      const turn =
        node.kind === "nested"
          ? this.#nested(node, path, results)
          : this.#stage(node.kind === "step" ? [node] : node.steps, path, results);
      if (turn !== undefined) return turn;
    }
    return undefined;
  }

  #nested(node: Extract<NodePlan, { kind: "nested" }>, path: string, results: Results): "back" | "nowhere" | undefined {
    if (node.badInput) return this.#isPastPivot ? "nowhere" : "back";
    const inner: Results = {};
    results[node.name] = inner;
    return this.#walk(node.nodes, `${path}${node.name}.`, inner);
  }

  #stage(steps: readonly StepPlan[], path: string, results: Results): "back" | "nowhere" | undefined {
    if (!this.#isPastPivot && this.#now >= this.#plan.stopAt) return "back";
    const start = this.#now;
    const group = steps.map((step): Begun => {
      const forward = step.forward || this.#isPastPivot;
      const end: End = step.badArgs ? { status: "not-run", at: start } : this.#calls(step.action, start, !forward);
      return { label: path + step.name, step, forward, end };
    });
    this.#begun.push(...group);
    this.#now = Math.max(...group.map(({ end }) => end.at));
    for (const { step, end } of group) {
      if (end.status !== "completed") continue;
      results[step.name] = { did: step.action.tool };
      if (step.pivot) this.#isPastPivot = true;
    }
    const failed = group.filter(({ end }) => end.status !== "completed");
    if (failed.length === 0) return undefined;
    if (failed.some(({ step, end }) => step.pivot && step.undo === undefined && end.status === "unknown"))
      return "nowhere";
    return failed.every(({ forward }) => forward) ? "nowhere" : "back";
  }

  /** The latest first. */
  #undoAll(): Begun[] {
    const wanted = this.#begun.filter(
      ({ step, forward, end }) =>
        step.undo !== undefined &&
        !forward &&
        end.status !== "not-run" &&
        !(end.status === "failed" && step.atomic && end.isDone !== true),
    );
    wanted.sort((one, other) => other.end.at - one.end.at || this.#begun.indexOf(other) - this.#begun.indexOf(one));
    for (const begun of wanted) {
      const end = this.#calls(begun.step.undo as Script, this.#now, false);
      begun.undone = end;
      this.#now = end.at;
    }
    return wanted;
  }

  /** All calls of one tool. */
  #calls(script: Script, start: number, isStoppable: boolean): End {
    const { server, stopAt, lateAt } = this.#plan;
    const limits = isStoppable ? { stopAt, lateAt } : { stopAt: Infinity, lateAt: Infinity };
    return new Calls(script, server, limits.stopAt, limits.lateAt, start, this.#runs).end();
  }
}

/** The calls of one tool, one after the other. */
class Calls {
  #epoch = 0;
  /** Nobody knows what became of the last call. */
  #isOpen = false;
  /** What the server did last, and the epoch that it was asked in. */
  #done: { readonly verdict: Verdict; readonly epoch: number } | undefined;

  constructor(
    readonly script: Script,
    readonly server: Plan["server"],
    readonly stopAt: number,
    readonly lateAt: number,
    public at: number,
    readonly runs: { readonly at: number; readonly tool: string }[],
  ) {}

  end(): End {
    const { fates } = this.script;
    for (let call = 1; ; call += 1) {
      const heard = this.#call(fates[Math.min(call, fates.length) - 1] as Fate);
      const end = this.#endAfter(heard, call);
      if (end !== undefined) return end;
      if (heard === "fails") this.#epoch += 1;
    }
  }

  #endAfter(heard: Heard, call: number): End | undefined {
    const { at } = this;
    if (heard === "ok" || (heard === "unkeepable" && this.script.isUndo)) return { status: "completed", at };
    if (heard === "unkeepable") return { status: "failed", at, isDone: true };
    if (heard === "nothing") this.#isOpen = true;
    const hasStopped = at >= this.stopAt;
    const isOver = (hasStopped && !this.#isOpen) || heard === "nobody will know" || call >= this.#most();
    if (isOver) return { status: this.#status(heard), at };
    // Found out, and not wanted any more.
    const isHarmless = hasStopped && this.server === "verifies" && this.#done === undefined;
    return isHarmless ? { status: "not-run", at } : undefined;
  }

  #most(): number {
    return this.#isOpen ? Math.max(this.script.maxAttempts, SETTLING_CALLS) : this.script.maxAttempts;
  }

  #status(heard: Heard): End["status"] {
    if (this.#isOpen) return "unknown";
    return heard === "refused" && this.#done === undefined ? "not-run" : "failed";
  }

  #call(fate: Fate): Heard {
    if (fate === "refused") {
      this.at += this.script.ms;
      return "refused";
    }
    if (this.#isOpen && this.server === "plain") return "nobody will know";
    const isFound = this.#isOpen && this.server === "verifies" && this.#done !== undefined;
    this.#isOpen = false;
    return isFound ? (this.#done?.verdict ?? "nothing") : this.#send(fate);
  }

  #send(fate: Fate): Heard {
    const sent = this.at;
    const answersAt = fate === "hangs" ? Infinity : sent + this.script.ms;
    // A question that comes after the stop is not cut off by it.
    const cutAt = sent >= this.stopAt ? Infinity : this.lateAt;
    this.at = Math.min(answersAt, sent + TIMEOUT_MS, cutAt);
    if (fate === "dropped") return "nothing";
    const done = this.#done;
    const isRecorded = this.server === "announces" && done !== undefined;
    if (!isRecorded || (done.verdict === "fails" && this.#epoch > done.epoch)) {
      this.runs.push({ at: sent, tool: this.script.tool });
      this.#done = { verdict: fate === "fails" || fate === "unkeepable" ? fate : "ok", epoch: this.#epoch };
    }
    const isHeard = this.at === answersAt && fate !== "lost";
    return isHeard ? (this.#done?.verdict ?? "nothing") : "nothing";
  }
}

type Heard = Verdict | "nothing" | "refused" | "nobody will know";
type Verdict = "ok" | "fails" | "unkeepable";

/** What a run of the plan must come to, by the rules alone. */
export function predict(plan: Plan): Prediction {
  return new Model(plan).predict();
}
