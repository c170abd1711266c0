import type { Caller, Runtime } from "@mcp-tx/core";
import { jsonResponse } from "./problem.js";
import type { BreakerSource, HealthCheck } from "./types.js";

type Status = HealthCheck["status"];

/** What is looked at. */
export interface HealthSources {
  readonly isClosing: boolean;
  /** Whether the last attempt to connect failed. */
  readonly hasFailed: boolean;
  readonly caller: Caller | undefined;
  readonly breakers: readonly BreakerSource[];
  readonly checks: Readonly<Record<string, () => HealthCheck | Promise<HealthCheck>>>;
  readonly timeoutMs: number;
  readonly runtime: Runtime;
}

const RANK: readonly Status[] = ["pass", "warn", "fail"];
const FAILED: HealthCheck = { status: "fail" };

function worst(statuses: readonly Status[]): Status {
  return RANK[Math.max(0, ...statuses.map((status) => RANK.indexOf(status)))] ?? "fail";
}

/** What somebody else's check gave; anything that is no check has failed. */
function checked(given: unknown): HealthCheck {
  const { status, output } = (given ?? {}) as Readonly<Record<string, unknown>>;
  if (!RANK.includes(status as Status)) return FAILED;
  return { status: status as Status, ...(typeof output === "string" && { output }) };
}

/** Asks, but not for ever. */
async function ask(check: () => unknown, { runtime, timeoutMs }: HealthSources): Promise<HealthCheck> {
  const controller = new AbortController();
  try {
    const late = runtime.sleep(timeoutMs, controller.signal).then(() => FAILED);
    late.catch(() => undefined);
    return checked(await Promise.race([check(), late]));
  } catch {
    return FAILED;
  } finally {
    controller.abort();
  }
}

/** Circuits that let nothing through, or only probes. Their names are nobody's business. */
function troubled(breaker: BreakerSource): number {
  try {
    const { circuits, isolated } = breaker.snapshot();
    return circuits.filter(({ state }) => state !== "closed").length + isolated.length;
  } catch {
    return 0;
  }
}

/** A `reliable()` knows about its servers. */
function ownHealth(caller: Caller | undefined): (() => unknown) | undefined {
  const { health } = (caller ?? {}) as { readonly health?: unknown };
  // Its status alone: it also names servers.
  return typeof health === "function" ? () => ({ status: checked(health.call(caller)).status }) : undefined;
}

async function allChecks(sources: HealthSources): Promise<Readonly<Record<string, Readonly<Record<string, unknown>>>>> {
  const { caller, breakers, checks, isClosing, hasFailed } = sources;
  const own = ownHealth(caller);
  const asked = { ...(own !== undefined && { servers: own }), ...checks };
  const answers = await Promise.all(
    Object.entries(asked).map(async ([name, check]) => [name, await ask(check, sources)] as const),
  );
  const open = breakers.reduce((sum, breaker) => sum + troubled(breaker), 0);
  return {
    requests: { status: isClosing ? "fail" : "pass" },
    connection: { status: hasFailed ? "fail" : "pass" },
    ...(breakers.length > 0 && {
      "circuit-breakers": { status: open > 0 ? "warn" : "pass", observedValue: open, observedUnit: "open circuits" },
    }),
    ...Object.fromEntries(answers),
  };
}

function healthResponse(status: Status, checks?: Readonly<Record<string, readonly unknown[]>>): Response {
  const text = JSON.stringify({ status, ...(checks !== undefined && { checks }) });
  return jsonResponse(status === "fail" ? 503 : 200, text, "application/health+json");
}

/** `/health`: the whole picture (draft-inadarei-api-health-check-06). An open breaker is a warning: the server itself is well. */
export async function healthOf(sources: HealthSources): Promise<Response> {
  const checks = await allChecks(sources);
  const status = worst(Object.values(checks).map((check) => check.status as Status));
  const listed = Object.fromEntries(Object.entries(checks).map(([name, check]) => [name, [check]]));
  return healthResponse(status, listed);
}

/** `/livez`: it answers, so it is alive; whatever else is wrong, a restart would not mend it. */
export function liveness(): Response {
  return healthResponse("pass");
}

/** `/readyz`: whether to send requests here. */
export function readiness(isClosing: boolean): Response {
  return healthResponse(isClosing ? "fail" : "pass");
}
