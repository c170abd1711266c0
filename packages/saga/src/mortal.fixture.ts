import type { SagaStore } from "@mcp-tx/core/stores";
import { type CrashPoints, SimulatedCrash } from "@mcp-tx/core/testing";
import { never, type Wire } from "./world.fixture.js";

/** A process that stops at one of its points, for ever or until it is woken. */
export interface Mortal {
  /** Its way to the tools: a point before and one behind each call. */
  readonly wire: Wire;
  /** Rejects when it stops. */
  readonly stopped: Promise<never>;
  /** Its way to a store that outlives it: a point before and one behind each method. */
  over(store: SagaStore): SagaStore;
  /** Lets it go on from where it stopped, and knows of no more points. */
  wake(): void;
}

const METHODS = ["create", "claim", "extend", "append", "end", "release", "get", "entries", "list", "sweep"] as const;
const READS: readonly string[] = ["get", "entries", "list"];

/** How a process stops, and where. */
export interface MortalOptions {
  /** @defaultValue "dies" */
  readonly ending?: "dies" | "sleeps" | undefined;
  /**
   * Where it may stop besides the tools' calls: before and behind each method of the store, or only behind those that write: everywhere
   * else nothing has changed since.
   * @defaultValue "everywhere"
   */
  readonly at?: "everywhere" | "writes" | undefined;
}

/** Makes a process of a run's crash points. What it did before it stopped stands; of what comes behind nothing happens. */
export function mortal(crash: CrashPoints, { ending = "dies", at: where = "everywhere" }: MortalOptions = {}): Mortal {
  let isAwake = false;
  let wake = (): void => undefined;
  const woken = new Promise<void>((resolve) => {
    wake = resolve;
  });
  let stop: (reason: unknown) => void = () => undefined;
  const stopped = new Promise<never>((_resolve, reject) => {
    stop = reject;
  });
  stopped.catch(() => undefined);

  async function at(name: string): Promise<void> {
    if (isAwake) return;
    try {
      crash.point(name);
    } catch (error) {
      stop(error);
      await (ending === "dies" ? never() : woken);
    }
  }
  async function between<T>(name: string, work: () => Promise<T>, isTool = false): Promise<T> {
    const isDead = crash.crashedAt !== undefined;
    if (isDead || isTool || where === "everywhere") await at(`before ${name}`);
    const given = await work();
    await at(`after ${name}`);
    return given;
  }
  return {
    stopped,
    wire: (tool, send) => between(tool, send, true),
    over(store) {
      const methods = METHODS.map((method) => {
        // Each method with its own parameters: they only pass through.
        const call = store[method].bind(store) as (...given: unknown[]) => Promise<unknown>;
        const isSilent = where === "writes" && READS.includes(method);
        return [
          method,
          (...given: unknown[]) => (isSilent ? call(...given) : between(method, () => call(...given))),
        ] as const;
      });
      return { storeId: store.storeId, durable: true, ...Object.fromEntries(methods) } as unknown as SagaStore;
    },
    wake() {
      isAwake = true;
      wake();
    },
  };
}

/** A process that dies at the point of this name. */
export function diesAt(name: string): Mortal {
  const visited: string[] = [];
  let crashedAt: string | undefined;
  return mortal({
    visited,
    get crashedAt() {
      return crashedAt;
    },
    point(reached) {
      visited.push(reached);
      if (reached === name) crashedAt = reached;
      if (crashedAt !== undefined) throw new SimulatedCrash(crashedAt);
    },
  });
}
