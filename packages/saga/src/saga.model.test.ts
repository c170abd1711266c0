import { crashPoints } from "@mcp-tx/core/testing";
import fc from "fast-check";
import { expect, test } from "vitest";
import { defineSaga } from "./definition.js";
import { memorySagaStore } from "./memory-saga-store.js";
import {
  type Fate,
  type NodePlan,
  type Plan,
  predict,
  type Script,
  SETTLING_CALLS,
  type StepPlan,
} from "./model.fixture.js";
import { mortal } from "./mortal.fixture.js";
import { asSteps, scripted, scriptsIn } from "./plans.fixture.js";
import { createSagaRunner } from "./runner.js";

/** The same sagas every time; fast-check names it, with the path to the failure. */
const SEED = 20_261_122;

const fate = fc.oneof(
  { weight: 5, arbitrary: fc.constant<Fate>("ok") },
  { weight: 3, arbitrary: fc.constantFrom<Fate>("fails", "lost") },
  { weight: 2, arbitrary: fc.constantFrom<Fate>("refused", "dropped", "hangs", "unkeepable") },
);
const rare = fc.integer({ min: 0, max: 9 }).map((drawn) => drawn === 0);
/** Most tools do what they should, or hardly any saga would come far. */
const fates = fc.oneof(
  { weight: 3, arbitrary: fc.constant<Fate[]>(["ok"]) },
  { weight: 2, arbitrary: fc.array(fate, { minLength: 1, maxLength: 4 }) },
);
const script = fc.record({ fates, maxAttempts: fc.integer({ min: 1, max: 4 }) });

const pivots = fc.oneof(fc.constant(Infinity), fc.integer({ min: 0, max: 8 }));

interface DrawnStep {
  readonly kind: "step";
  readonly action: Pick<Script, "fates" | "maxAttempts">;
  readonly undo: Pick<Script, "fates" | "maxAttempts"> | undefined;
  readonly badArgs: boolean;
  readonly atomic: boolean;
  readonly forward: boolean;
}
type DrawnNode =
  | DrawnStep
  | { readonly kind: "parallel"; readonly steps: readonly DrawnStep[] }
  | { readonly kind: "nested"; readonly nodes: readonly DrawnNode[]; readonly badInput: boolean };

type DrawnScript = Pick<Script, "fates" | "maxAttempts">;

function nodesOf(script: fc.Arbitrary<DrawnScript>): fc.Arbitrary<DrawnNode[]> {
  const step: fc.Arbitrary<DrawnStep> = fc.record({
    kind: fc.constant("step" as const),
    action: script,
    undo: fc.oneof({ weight: 4, arbitrary: script }, { weight: 1, arbitrary: fc.constant(undefined) }),
    badArgs: rare,
    atomic: rare,
    forward: rare,
  });
  return fc.letrec<{ nodes: DrawnNode[]; node: DrawnNode }>((tie) => ({
    nodes: fc.array(tie("node"), { minLength: 1, maxLength: 5 }),
    node: fc.oneof(
      { maxDepth: 2 },
      { weight: 5, arbitrary: step },
      {
        weight: 2,
        arbitrary: fc.record({
          kind: fc.constant("parallel" as const),
          steps: fc.array(step, { minLength: 1, maxLength: 3 }),
        }),
      },
      {
        weight: 1,
        arbitrary: fc.record({ kind: fc.constant("nested" as const), nodes: tie("nodes"), badInput: rare }),
      },
    ),
  })).nodes;
}

/** Gives names and the pivot: what no drawing of single steps can. */
function planOf(drawn: readonly DrawnNode[], pivotAt: number): readonly NodePlan[] {
  let count = 0;
  let hasPivot = false;
  function planStep(given: DrawnStep, mayBePivot: boolean): StepPlan {
    const index = count++;
    const pivot = mayBePivot && !hasPivot && index >= pivotAt;
    hasPivot ||= pivot;
    const forward = given.forward && !pivot;
    const undo = forward ? undefined : given.undo;
    const common = { ms: 10 + index * 0.37, isUndo: false };
    return {
      ...given,
      name: `s${index}`,
      action: { ...given.action, ...common, tool: `do${index}` },
      undo: undo && { ...undo, ...common, tool: `undo${index}`, isUndo: true },
      forward,
      pivot,
      readOnly: undo === undefined,
    };
  }
  function planNode(node: DrawnNode): NodePlan {
    if (node.kind === "step") return planStep(node, true);
    if (node.kind === "parallel") return { kind: "parallel", steps: node.steps.map((each) => planStep(each, false)) };
    const name = `n${count++}`;
    return { ...node, name, nodes: node.nodes.map(planNode) };
  }
  return drawn.map(planNode);
}

/** A plan, and what is to stop it. */
interface DrawnPlan extends Plan {
  readonly stop: { readonly graceMs: number; readonly by: "abort" | "deadline" } | undefined;
}

/** Sagas of any shape, whose calls go well, badly or astray, and which somebody may want to stop. */
const plans: fc.Arbitrary<DrawnPlan> = fc
  .record({
    drawn: nodesOf(script),
    pivotAt: pivots,
    server: fc.constantFrom<Plan["server"]>("plain", "announces", "verifies"),
    stop: fc.oneof(
      { weight: 2, arbitrary: fc.constant(undefined) },
      {
        weight: 1,
        arbitrary: fc.record({
          at: fc.integer({ min: 0, max: 150 }),
          graceMs: fc.constantFrom(0, 5, Infinity),
          by: fc.constantFrom("abort" as const, "deadline" as const),
        }),
      },
    ),
  })
  .map(({ drawn, pivotAt, server, stop }) => {
    // Never the moment at which a call ends.
    const stopAt = stop === undefined ? Infinity : stop.at + 0.005;
    return { nodes: planOf(drawn, pivotAt), server, stop, stopAt, lateAt: stopAt + (stop?.graceMs ?? 0) };
  });

/** Sagas of any shape whose tools do their work or fail, on a server that keeps records: a crash must make no difference. */
const steadyPlans: fc.Arbitrary<Plan> = fc
  .record({
    drawn: nodesOf(
      fc.record({
        fates: fc.oneof(
          { weight: 5, arbitrary: fc.constant<Fate[]>(["ok"]) },
          { weight: 1, arbitrary: fc.constant<Fate[]>(["fails"]) },
        ),
        maxAttempts: fc.constant(1),
      }),
    ),
    pivotAt: pivots,
  })
  .map(({ drawn, pivotAt }) => ({
    ...{ nodes: planOf(drawn, pivotAt), server: "announces" as const, stopAt: Infinity, lateAt: Infinity },
  }));

test("ends every saga as the rules say, whatever its shape and its tools", { timeout: 60_000 }, async () => {
  await fc.assert(
    fc.asyncProperty(plans, async (given) => {
      const { time, log, caller } = scripted(scriptsIn(given.nodes), given.server);
      const { stop, stopAt } = given;
      const definition = defineSaga("any", asSteps(given.nodes));
      const runner = createSagaRunner({
        caller: caller(),
        runtime: time.runtime,
        graceMs: stop?.graceMs,
        compensationBudgetMs: Infinity,
        settleRetry: { maxAttempts: SETTLING_CALLS, baseDelayMs: 0 },
      });
      const controller = new AbortController();
      if (stop?.by === "abort") void time.runtime.sleep(stopAt).then(() => controller.abort(new Error("enough")));
      const options = stop?.by === "abort" ? { signal: controller.signal } : { timeoutMs: stopAt };
      const outcome = await time.run(runner.run(definition, {}, { id: "1", ...options }));
      const { status, results, compensated, failedCompensations, unknown } = outcome;
      const steps = outcome.steps.map(({ step: name, status: ended, compensation }) => [
        name,
        ended,
        compensation?.status,
      ]);
      expect({ status, results, compensated, failedCompensations, unknown, steps, log: [...log] }).toEqual(
        predict(given),
      );
      const again = await time.run(runner.run(definition, {}, { id: "1" }));
      expect(again).toEqual(JSON.parse(JSON.stringify(outcome)));
    }),
    { numRuns: 300, seed: SEED },
  );
});

test("ends every saga as if no process had died, when the server keeps records", { timeout: 60_000 }, async () => {
  const crashes = fc.array(fc.integer({ min: 1, max: 60 }), { minLength: 1, maxLength: 3 });
  await fc.assert(
    fc.asyncProperty(steadyPlans, crashes, async (given, deaths) => {
      const { time, log, caller } = scripted(scriptsIn(given.nodes), given.server);
      const definition = defineSaga("any", asSteps(given.nodes));
      const store = memorySagaStore({ runtime: time.runtime });
      const terms = { runtime: time.runtime, leaseMs: 1000, compensationBudgetMs: Infinity };
      for (const death of deaths) {
        const process = mortal(crashPoints(death));
        const runner = createSagaRunner({ ...terms, caller: caller(process.wire), store: process.over(store) });
        await time.run(Promise.race([runner.run(definition, {}, { id: "1" }), process.stopped]).catch(() => undefined));
        await time.advance(1001);
      }
      const runner = createSagaRunner({ ...terms, caller: caller(), store });
      const outcome = await time.run(runner.run(definition, {}, { id: "1" }));
      const { status, results, unknown } = outcome;
      const ended = [outcome.compensated, outcome.failedCompensations, log].map((names) => [...names].sort());
      const expected = predict(given);
      expect({ status, results, unknown }).toEqual({ status: expected.status, results: expected.results, unknown: [] });
      expect(ended).toEqual(
        [expected.compensated, expected.failedCompensations, expected.log].map((names) => [...names].sort()),
      );
    }),
    { numRuns: 300, seed: SEED },
  );
});
