import { type Caller, McpTxError, type Middleware } from "@mcp-tx/core";
import type { VirtualTime } from "@mcp-tx/core/testing";
import { type Fate, type NodePlan, type Plan, type Script, type StepPlan, TIMEOUT_MS } from "./model.fixture.js";
import type { PlainStep } from "./structure.js";
import { LostAnswer, never, type Wire, world } from "./world.fixture.js";

/** Every tool of a plan. */
export function scriptsIn(given: readonly NodePlan[]): readonly Script[] {
  return given.flatMap((node) => {
    if (node.kind === "nested") return scriptsIn(node.nodes);
    const steps = node.kind === "step" ? [node] : node.steps;
    return steps.flatMap(({ action, undo }) => (undo === undefined ? [action] : [action, undo]));
  });
}

const bad = (): never => {
  throw new Error("no arguments");
};

function asStep({
  name,
  action,
  undo,
  badArgs,
  atomic,
  forward,
  pivot,
  readOnly,
}: StepPlan): Extract<PlainStep, { tool: string }> {
  const patience = ({ maxAttempts }: Script) => ({ maxAttempts, baseDelayMs: 0, jitter: "none" }) as const;
  return {
    ...{ name, tool: action.tool, retry: patience(action), timeoutMs: TIMEOUT_MS },
    ...{ atomic, forward, pivot, readOnly, ...(badArgs && { args: bad }) },
    ...(undo !== undefined && { compensate: { tool: undo.tool, retry: patience(undo), timeoutMs: TIMEOUT_MS } }),
  };
}

/** A plan as a definition has it. */
export function asSteps(given: readonly NodePlan[]): readonly PlainStep[] {
  return given.map((node) => {
    if (node.kind === "step") return asStep(node);
    if (node.kind === "parallel") return { parallel: node.steps.map(asStep) };
    const saga = { name: node.name, steps: asSteps(node.nodes) };
    return { name: node.name, saga, ...(node.badInput && { input: bad }) };
  });
}

/** A scripted world. */
export interface Scripted {
  readonly time: VirtualTime;
  readonly log: readonly string[];
  /** A caller as a process has it, with what happens on its own way to the server. */
  caller(own?: Wire): Caller<unknown>;
}

/** A world in which every call goes as its script says. */
export function scripted(scripts: readonly Script[], server: Plan["server"]): Scripted {
  const calls = new Map<string, number>();
  const current = new Map<string, Fate>();
  const scriptOf = (tool: string): Script => scripts.find((each) => each.tool === tool) as Script;
  const names = scripts.map(({ tool }) => tool);
  const tools = Object.fromEntries(
    names.map((tool) => [
      tool,
      () => {
        if (current.get(tool) === "fails") throw new Error("the tool failed");
        return current.get(tool) === "unkeepable" ? { did: 1n } : { did: tool };
      },
    ]),
  );
  const { time, log, caller } = world({
    names,
    tools,
    announces: server === "announces",
    verifies: server === "verifies",
  });
  const wire: Wire = async (tool, send) => {
    const fate = current.get(tool);
    const answer = fate === "dropped" ? undefined : await send();
    if (fate === "hangs") return never();
    await time.runtime.sleep(scriptOf(tool).ms);
    if (answer === undefined || fate === "lost") throw new LostAnswer("the connection broke");
    return answer;
  };
  const refuse: Middleware = async (ctx, next) => {
    const { tool } = ctx;
    const { fates, ms } = scriptOf(tool);
    const call = (calls.get(tool) ?? 0) + 1;
    calls.set(tool, call);
    const fate = fates[Math.min(call, fates.length) - 1] as Fate;
    current.set(tool, fate);
    if (fate !== "refused") return next(ctx);
    await time.runtime.sleep(ms);
    const outcome = { status: "rejected", execution: "not-executed", transient: true } as const;
    throw new McpTxError("the tool is busy", "rate_limited", { outcome });
  };
  return {
    time,
    log,
    caller: (own = (_tool, send) => send()) =>
      caller({ wire: (tool, send) => own(tool, () => wire(tool, send)), middleware: [refuse] }),
  };
}
