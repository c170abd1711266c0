import { type Call, type CallContext, defaultRuntime, oneRuntime, type Runtime } from "@mcp-tx/core";
import { type Alert, type Health, successRate } from "./alert.js";
import { Delivery } from "./delivery.js";
import type { Settings } from "./options.js";
import { Passage } from "./passage.js";
import type { MonitorReport, ToolReport } from "./report.js";
import { type Tool, Tools } from "./tools.js";
import type { Outcomes } from "./window.js";

/** The state of one `monitor()`: its tools, its clock, its alerts. */
export class Watch {
  readonly #settings: Settings;
  readonly #stepMs: number;
  readonly #tools: Tools;
  readonly #delivery: Delivery;
  readonly #runtimeOf: (call: Call) => Runtime = oneRuntime("monitor");
  readonly #firing = new Set<Tool>();
  /** The clock of the calls; until the first one, of the process. */
  #runtime: Runtime = defaultRuntime;
  #isStarted = false;
  #episodes = 0;
  /** When the windows of the firing tools move on next. */
  #nextLook = Number.NEGATIVE_INFINITY;

  constructor(settings: Settings) {
    this.#settings = settings;
    this.#stepMs = settings.windowMs / settings.buckets;
    this.#tools = new Tools(settings);
    this.#delivery = new Delivery(settings.onAlert);
  }

  /**
   * A call comes in.
   *
   * @throws TypeError for a call on another clock
   */
  begin(ctx: CallContext): Passage {
    if (ctx.call.runtime !== this.#runtime || !this.#isStarted) {
      this.#runtime = this.#runtimeOf(ctx.call);
      this.#isStarted = true;
    }
    const now = this.#runtime.now();
    const tool = this.#tools.use(ctx.tool, now);
    const passage = new Passage(ctx, tool, now);
    tool.inFlight += 1;
    return passage;
  }

  /** A call has ended. */
  end(passage: Passage, value: unknown, thrown: boolean): void {
    const { tool } = passage;
    const now = this.#runtime.now();
    passage.end(value, thrown, now);
    tool.inFlight -= 1;
    tool.window.record(passage, now);
    const health = this.#healthOf(tool);
    const reason = tool.alert.next(tool.rules, health, now);
    if (reason !== undefined) this.#announce(tool, reason, health, now);
    if (this.#firing.size > 0) this.#look(now);
  }

  report(): MonitorReport {
    const now = this.#runtime.now();
    this.#endAlerts(now);
    const tools: ToolReport[] = [];
    for (const tool of this.#tools.all()) {
      tool.window.advance(now);
      if (!tool.window.isEmpty || tool.inFlight > 0) tools.push(this.#describe(tool, now));
    }
    return {
      at: now,
      atWall: this.#runtime.wallNow(),
      windowMs: this.#settings.windowMs,
      tools: tools.sort((left, right) => (left.tool < right.tool ? -1 : 1)),
      alerts: this.#delivery.counts,
    };
  }

  /** Time alone ends alerts, of tools that nobody calls any more too: looked after once a step, by whichever call comes. */
  #look(now: number): void {
    if (now < this.#nextLook) return;
    this.#nextLook = (Math.floor(now / this.#stepMs) + 1) * this.#stepMs;
    this.#endAlerts(now);
  }

  #endAlerts(now: number): void {
    for (const tool of this.#firing) {
      tool.window.advance(now);
      const health = this.#healthOf(tool);
      const reason = tool.alert.end(tool.rules, health, now);
      if (reason !== undefined) this.#announce(tool, reason, health, now);
    }
  }

  #healthOf({ window: { outcomes } }: Tool): Health {
    return healthOf(outcomes, this.#settings.countRejected);
  }

  #announce(tool: Tool, reason: Alert["reason"], health: Health, now: number): void {
    const isFiring = reason === "below-threshold";
    const { alert, rules, name } = tool;
    const rate = successRate(health);
    if (isFiring) {
      this.#episodes += 1;
      alert.episode = this.#episodes;
      this.#firing.add(tool);
    } else this.#firing.delete(tool);
    this.#delivery.send({
      state: isFiring ? "firing" : "resolved",
      tool: name,
      episode: alert.episode,
      reason,
      ...(rate !== undefined && { successRate: rate }),
      samples: health.samples,
      threshold: rules.threshold,
      recoverAt: rules.recoverAt,
      at: now,
      atWall: this.#runtime.wallNow(),
      ...(!isFiring && { firingMs: now - alert.firedAt }),
    });
  }

  #describe(tool: Tool, now: number): ToolReport {
    const { name, alert, inFlight, window } = tool;
    const { outcomes, attempts, attempted, duplicates, waited, waitedMs, codes, latency } = window.total();
    const health = this.#healthOf(tool);
    const rate = successRate(health);
    const latencyMs = latency?.quantiles();
    return {
      tool: name,
      calls: Object.values(outcomes).reduce((sum, count) => sum + count, 0),
      inFlight,
      samples: health.samples,
      ...(rate !== undefined && { successRate: rate }),
      outcomes,
      codes: Object.fromEntries(codes ?? []),
      attempts: { total: attempts, ...(attempted > 0 && { average: attempts / attempted }) },
      duplicates,
      waits: { calls: waited, totalMs: waitedMs },
      ...(latencyMs !== undefined && { latencyMs }),
      alert: alert.isFiring
        ? { state: "firing", episode: alert.episode, firingMs: now - alert.firedAt }
        : { state: "ok" },
    };
  }
}

/** What succeeded and what failed. Calls that were cancelled are neither. */
function healthOf({ completed, failed, timeout, unknown, rejected }: Outcomes, countRejected: boolean): Health {
  return { succeeded: completed, samples: completed + failed + timeout + unknown + (countRejected ? rejected : 0) };
}
