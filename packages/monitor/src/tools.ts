import { AlertState } from "./alert.js";
import type { AlertRules, Settings } from "./options.js";
import { Window } from "./window.js";

/** The name under which all tools count that are not kept apart. */
export const OTHER = "_OTHER";
/** Longer names are no tool's: the protocol says 128, and whoever makes them up must not fill our memory. */
const MAX_NAME = 256;
/** How often, at most, it is looked for tools that nobody calls any more. */
const SWEEP_MS = 1000;

/** What is kept of one tool. */
export class Tool {
  readonly name: string;
  readonly rules: AlertRules;
  readonly window: Window;
  readonly alert: AlertState = new AlertState();
  /** Calls that have not ended. */
  inFlight = 0;

  constructor(name: string, { windowMs, buckets, rules, toolRules }: Settings) {
    this.name = name;
    this.rules = toolRules.get(name) ?? rules;
    this.window = new Window(windowMs, buckets);
  }

  /** Whether nothing is lost when it is forgotten. */
  isForgettable(now: number): boolean {
    if (this.inFlight > 0 || !this.alert.isCalm(now)) return false;
    this.window.advance(now);
    return this.window.isEmpty;
  }
}

/** The tools of one monitor: so many, and one more for all others. */
export class Tools {
  readonly #settings: Settings;
  readonly #tools = new Map<string, Tool>();
  readonly #other: Tool;
  readonly #sweepMs: number;
  #nextSweep = Number.NEGATIVE_INFINITY;
  #last: Tool | undefined;

  constructor(settings: Settings) {
    this.#settings = settings;
    this.#other = new Tool(OTHER, settings);
    this.#sweepMs = Math.max(SWEEP_MS, settings.windowMs / settings.buckets);
  }

  get size(): number {
    return this.#tools.size;
  }

  /** The tool of a call. */
  use(name: string, now: number): Tool {
    if (this.#last?.name === name) return this.#last;
    const tool = this.#tools.get(name) ?? this.#add(name, now);
    this.#last = tool;
    return tool;
  }

  *all(): Generator<Tool> {
    yield* this.#tools.values();
    yield this.#other;
  }

  #add(name: string, now: number): Tool {
    const { toolRules, maxTools } = this.#settings;
    if (name === OTHER || name.length > MAX_NAME) return this.#other;
    if (!toolRules.has(name) && this.size >= maxTools) this.#sweep(now);
    if (!toolRules.has(name) && this.size >= maxTools) return this.#other;
    const tool = new Tool(name, this.#settings);
    this.#tools.set(name, tool);
    return tool;
  }

  /** Forgets the tools that nobody calls any more. */
  #sweep(now: number): void {
    if (now < this.#nextSweep) return;
    this.#nextSweep = now + this.#sweepMs;
    for (const [name, tool] of this.#tools) if (tool.isForgettable(now)) this.#tools.delete(name);
    this.#last = undefined;
  }
}
