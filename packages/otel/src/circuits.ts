import { type Circuits, countTransition } from "./call-events.js";
import type { CallSettings } from "./options.js";
import { quietly } from "./quietly.js";
import { OTHER } from "./semconv.js";
import type { Telemetry } from "./telemetry.js";

/** Whether a key is the default one, which says what server and tool say. */
function isDefaultKey(key: string, tool: unknown, server: unknown): boolean {
  return key === JSON.stringify([server ?? null, tool]);
}

/** For a change without a call the server is not known: any name of one. */
function mayBeDefaultKey(key: string, tool: string): boolean {
  const parts: unknown = quietly(() => JSON.parse(key));
  return Array.isArray(parts) && parts.length === 2 && isDefaultKey(key, tool, parts[0]);
}

/** Names circuits by settings, and counts the changes of the breakers that it is given. */
export function watchCircuits(telemetry: Telemetry, settings?: CallSettings): Circuits {
  const { circuitBreakers, circuitName } = settings ?? {};

  function named(key: string, isKnown: boolean): string {
    if (circuitName === undefined) return isKnown ? telemetry.names.of(key) : OTHER;
    const name: unknown = quietly(() => circuitName(key));
    return typeof name === "string" ? telemetry.names.of(name) : OTHER;
  }

  for (const breaker of circuitBreakers ?? []) {
    breaker.onStateChange(({ key, tool, from, to }) => {
      const instruments = telemetry.instruments();
      const isKnown = tool !== undefined && (key === tool || mayBeDefaultKey(key, tool));
      if (instruments !== undefined)
        quietly(() => countTransition(instruments, { name: named(key, isKnown), from, to }));
    });
  }

  return {
    countsEvents: circuitBreakers === undefined,
    nameOf(key, tool, server) {
      if (typeof key !== "string") return OTHER;
      return named(key, key === tool || key === server || isDefaultKey(key, tool, server));
    },
  };
}
