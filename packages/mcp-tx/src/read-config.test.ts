import { circuitBreaker } from "@mcp-tx/circuit-breaker";
import { idempotency } from "@mcp-tx/idempotency";
import { concurrencyLimit, rateLimit } from "@mcp-tx/rate-limit";
import { retry, retryBudget } from "@mcp-tx/retry";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { childPath } from "./config-path.js";
import { CONFIG_KEYS, readConfig } from "./read-config.js";

type Path = readonly string[];

/** A configuration that says one thing. */
function saying(path: Path, value: unknown): unknown {
  return path.reduceRight<unknown>((inner, key) => ({ [key]: inner }), value);
}

function written(path: Path): string {
  return path.reduce(childPath, "config");
}

function problemOf(given: unknown): unknown {
  try {
    readConfig(given);
  } catch (error) {
    return error;
  }
  return undefined;
}

const RETRY = ["maxAttempts", "baseDelayMs", "maxDelayMs", "multiplier", "maxElapsedMs", "maxRetryAfterMs"];
const BREAKER = ["consecutiveFailures", "recoveryTimeoutMs", "maxKeys", "maxRetryAfterMs"];
const LIMIT = ["rate", "burst", "maxQueue", "maxWaitMs", "maxRetryAfterMs"];
const SLOTS = ["max", "maxQueue", "maxWaitMs", "abandonedMs"];
const below = (section: Path, names: readonly string[]): readonly Path[] => names.map((name) => [...section, name]);

/** Paths at which there must be a number, in a configuration and in what it says of a tool. */
const IN_BOTH: readonly Path[] = [
  ["timeoutMs"],
  ["attemptTimeoutMs"],
  ...below(["retry"], RETRY),
  ...below(["idempotency"], ["ttlMs", "leaseMs"]),
  ...below(["circuitBreaker"], BREAKER),
  ...below(["circuitBreaker", "halfOpen"], ["probes", "maxWaitMs", "ramp"]),
  ...below(["rateLimit"], LIMIT),
  ...below(["concurrency"], SLOTS),
];
const NUMBERS: readonly Path[] = [
  ...IN_BOTH,
  ...below(["retryBudget"], ["ratio", "minPerSecond", "ttlMs"]),
  ...below(["reconnect"], ["baseDelayMs", "maxDelayMs", "multiplier"]),
  ["connectTimeoutMs"],
];
const toolName = fc.oneof(
  fc.constantFrom("pay", "pay*", "files/{read,list}", "bank.pay", "__proto__", "constructor", "*"),
  fc.stringMatching(/^[\w./ -]{1,20}$/),
);
const anyNumberPath = fc.oneof(
  fc.constantFrom(...NUMBERS),
  fc.tuple(toolName, fc.constantFrom(...IN_BOTH)).map(([name, path]): Path => ["tools", name, ...path]),
);
/** Neither a number in any range, nor absent, nor a function that might be one of the user's. */
const noNumber = fc.oneof(
  fc.constantFrom(Number.NaN, -1, -Infinity, null, true, "5", "", Symbol("five"), 5n),
  fc.array(fc.integer()),
  fc.record({ max: fc.integer() }),
);

describe("a mistake", () => {
  test("is named by its full path, whatever is wrong and wherever it is", () => {
    fc.assert(
      fc.property(anyNumberPath, noNumber, (path, value) => {
        const problem = problemOf(saying(path, value));
        expect(problem).toBeInstanceOf(Error);
        expect(problem instanceof TypeError || problem instanceof RangeError).toBe(true);
        expect((problem as Error).message.startsWith(`${written(path)} must be `)).toBe(true);
      }),
      { numRuns: 500 },
    );
  });

  test("in a name is refused at any depth, with the full path and the names that there are", () => {
    const parents = fc.oneof(
      fc.constantFrom<Path>([], ["retry"], ["idempotency"], ["circuitBreaker"], ["rateLimit"], ["concurrency"]),
      fc.constantFrom<Path>(["circuitBreaker", "halfOpen"], ["retryBudget"], ["logging"], ["reconnect"]),
      fc.constantFrom<Path>(["idempotency", "key"], ["tools", "pay*"], ["tools", "pay*", "retry"]),
    );
    const unknown = fc.string({ maxLength: 30 }).filter((name) => !KNOWN.has(name));
    fc.assert(
      fc.property(parents, unknown, (parent, name) => {
        const path = [...parent, name];
        const problem = problemOf(saying(path, 1));
        expect(problem).toBeInstanceOf(TypeError);
        expect((problem as Error).message.startsWith(`${written(path)} does not exist; `)).toBe(true);
      }),
      { numRuns: 500 },
    );
  });

  test.each([
    [{ retryPolicy: {} }, 'config.retryPolicy does not exist; did you mean "retry"?'],
    [{ timeout: 5 }, 'config.timeout does not exist; did you mean "timeoutMs"?'],
    [
      { tools: { "pay*": { retry: { maxAttemps: 5 } } } },
      'config.tools["pay*"].retry.maxAttemps does not exist; did you mean "maxAttempts"?',
    ],
    [
      { tools: { "pay*": { retry: { maxAttempts: 0 } } } },
      'config.tools["pay*"].retry.maxAttempts must be an integer >= 1 (Infinity allowed), got 0',
    ],
    [{ tools: { pay: false } }, "config.tools.pay must be an object, got false"],
    [{ tools: { pay: null } }, "config.tools.pay must be an object, got null"],
    [{ tools: { "": {} } }, 'config.tools[""] must have a tool name or a glob for its key'],
    [{ tools: { "pay[": {} } }, 'config.tools["pay["] is no glob: '],
    [{ tools: [] }, "config.tools must be an object of tool names or globs, got an array"],
    [{ retry: 3 }, "config.retry must be true, false or an object of options, got 3"],
    [{ retry: { retryOn: ["tool_eror"] } }, 'config.retry.retryOn[0] must be one of "circuit_open", '],
    [{ retry: { retryOn: [] } }, "config.retry.retryOn must be a list of outcome codes, got an empty one"],
    [{ retry: { budget: {} } }, "config.retry.budget does not exist; "],
    [{ idempotency: { key: {} } }, "config.idempotency.key.fields is required: "],
    [{ idempotency: { key: { fields: [""] } } }, "config.idempotency.key.fields[0] must be a non-empty string, got "],
    [
      { idempotency: { key: "orderId" } },
      "config.idempotency.key must be a function (ctx) => string or an object such as",
    ],
    [
      { idempotency: { store: { idempotency: {} } } },
      'config.idempotency.store must be one store, got a bundle of stores: pass its member "idempotency"',
    ],
    [
      { tools: { pay: { idempotency: { store: {} } } } },
      "config.tools.pay.idempotency.store is the same for all tools; ",
    ],
    [{ circuitBreaker: { key: "host" } }, 'config.circuitBreaker.key must be one of "tool", "server", got "host"'],
    [
      { circuitBreaker: { window: { type: "calls" } } },
      'config.circuitBreaker.window.type must be one of "count", "time", got "calls"',
    ],
    [{ circuitBreaker: { window: { type: "time", size: 5 } } }, "config.circuitBreaker.window.size does not exist; "],
    [{ rateLimit: true }, "config.rateLimit cannot be true: say what the limit is, or false for none"],
    [{ concurrency: "8" }, 'config.concurrency must be a number, false or an object of options, got "8"'],
    [{ concurrency: 0 }, "config.concurrency must be an integer >= 1, got 0"],
    [{ retryBudget: { deposit() {}, withdraw: 1 } }, "config.retryBudget.deposit does not exist; "],
    [{ middleware: [() => undefined, {}] }, "config.middleware[1] must be a function, got an object"],
    [{ middleware: {} }, "config.middleware must be a function or an array of functions, got an object"],
    [{ classifiers: () => undefined }, "config.classifiers must be an array of functions, got a function"],
    [{ logger: { info() {} } }, "config.logger must be an object with a method debug(), got an object"],
    [{ trustAnnotations: "yes" }, "config.trustAnnotations must be true, false or a function"],
    [{ runtime: {} }, "config.runtime must be an object with a method now(), got an object"],
    [null, "config must be an object, got null"],
  ])("in %j is explained", (given, message) => {
    const problem = problemOf(given);
    expect(problem).toBeInstanceOf(Error);
    expect((problem as Error).message).toContain(message);
    expect((problem as Error).message.startsWith(message)).toBe(true);
  });
});

/** Every name that is fine somewhere: a made-up one must not be one of them. */
const KNOWN: ReadonlySet<string> = new Set([
  ...CONFIG_KEYS,
  ...NUMBERS.flat(),
  ...["jitter", "replay", "retryOn", "delay", "key", "scope", "onConcurrent", "toolErrors", "keyArgument", "store"],
  ...["storeErrors", "window", "halfOpen", "isFailure", "cost", "onLimit", "arguments", "results", "keys", "messages"],
  ...["fields", "missing"],
]);

test("gives back what is there, and nothing else", () => {
  const config = { timeoutMs: 5, retry: { maxAttempts: 2, jitter: undefined }, tools: { pay: { retry: false } } };
  expect(readConfig(config)).toEqual({ timeoutMs: 5, retry: { maxAttempts: 2 }, tools: { pay: { retry: false } } });
  expect(readConfig(undefined)).toEqual({});
  expect(readConfig({ retry: undefined })).toEqual({});
});

describe("ranges are those of the packages", () => {
  const numbers = fc.oneof(
    fc.constantFrom(0, 1, -1, 0.5, 1.5, 2, 1000, 1001, Infinity, -Infinity, Number.NaN, 1e-9, 2 ** 31),
    fc.double(),
    fc.integer(),
  );

  function accepts(build: () => unknown): boolean {
    try {
      build();
      return true;
    } catch {
      return false;
    }
  }

  const ONE_BY_ONE: readonly (readonly [
    name: string,
    options: readonly string[],
    build: (given: object) => unknown,
  ])[] = [
    ["retry", RETRY, (given) => retry(given)],
    ["idempotency", ["ttlMs", "leaseMs"], (given) => idempotency(given)],
    ["circuitBreaker", BREAKER, (given) => circuitBreaker(given)],
    ["retryBudget", ["ratio", "minPerSecond", "ttlMs"], (given) => retryBudget(given)],
    ["concurrency", SLOTS, (given) => concurrencyLimit({ max: 1, ...given })],
    ["rateLimit", LIMIT, (given) => rateLimit({ rate: 1, burst: 1, cost: 1e-9, ...given })],
  ];

  test.each(ONE_BY_ONE)("%s", (section, options, build) => {
    fc.assert(
      fc.property(fc.constantFrom(...options), numbers, (option, value) => {
        const given = { [option]: value };
        // Tiny and huge rates are in range; that they do not go with a burst is not.
        fc.pre(section !== "rateLimit" || !(value > 0 && (value < 1e-6 || value > 1e12)));
        expect(accepts(() => readConfig({ [section]: given }))).toBe(accepts(() => build(given)));
      }),
      { numRuns: 300 },
    );
  });

  test.each(ONE_BY_ONE)("%s knows the same options", (section, _, build) => {
    const listed = (read: () => unknown): readonly string[] => {
      try {
        read();
      } catch (error) {
        return (
          /(?:it takes|known are) (.*)$/
            .exec((error as Error).message)?.[1]
            ?.split(", ")
            .sort() ?? []
        );
      }
      return [];
    };
    const theirs = listed(() => build({ "no such option": 1 })).filter((name) => name !== "budget");
    expect(theirs.length).toBeGreaterThan(2);
    expect(listed(() => readConfig({ [section]: { "no such option": 1 } }))).toEqual(theirs);
  });
});
