/** What `snapshot` remembers of one circuit. */
export interface CircuitSnapshot {
  readonly key: string;
  /** For people: with default keys, what the key is made of. */
  readonly server?: string | undefined;
  readonly tool?: string | undefined;
  readonly state: "closed" | "open" | "half-open";
  /** Milliseconds for which it stays open, 0 when it is not open. */
  readonly openForMs: number;
  readonly consecutiveFailures: number;
  /** Openings since it was last closed. */
  readonly openings: number;
}

/** State of a breaker as plain JSON. What is in the windows is not part of it. */
export interface BreakerSnapshot {
  readonly version: 1;
  /** When it was taken, in milliseconds since the epoch. */
  readonly takenAtWall: number;
  /** Circuits that have something to tell: all others are closed and saw no failure last. */
  readonly circuits: readonly CircuitSnapshot[];
  /** Names that an operator isolated. */
  readonly isolated: readonly string[];
}

type Bag = Readonly<Record<string, unknown>>;

function check(isFine: boolean, field: string, expected: string): asserts isFine {
  if (!isFine) throw new TypeError(`circuitBreaker: ${field} must be ${expected}`);
}

function read<T>(value: unknown, field: string, expected: string, isOne: (value: unknown) => value is T): T {
  check(isOne(value), field, expected);
  return value;
}

const isString = (value: unknown): value is string => typeof value === "string";
const isTime = (value: unknown): value is number => typeof value === "number" && value >= 0 && value !== Infinity;
const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && isTime(value);
const isList = (value: unknown): value is readonly unknown[] => Array.isArray(value);
const isBag = (value: unknown): value is Bag => typeof value === "object" && value !== null;
const isState = (value: unknown): value is CircuitSnapshot["state"] =>
  value === "closed" || value === "open" || value === "half-open";

/**
 * Reads what somebody stored, each field once, into a snapshot of our own.
 *
 * @param isKey - whether a string is a key of the breaker
 * @throws TypeError naming the field
 */
export function readSnapshot(given: unknown, isKey: (key: string) => boolean): BreakerSnapshot {
  const bag = read(given, "snapshot", "an object", isBag);
  check(bag.version === 1, "snapshot.version", "1");
  return {
    version: 1,
    takenAtWall: read(bag.takenAtWall, "snapshot.takenAtWall", "milliseconds since the epoch", isTime),
    circuits: Array.from(read(bag.circuits, "snapshot.circuits", "an array", isList), (circuit, index) =>
      readCircuit(circuit, `snapshot.circuits[${index}]`, isKey),
    ),
    isolated: Array.from(read(bag.isolated, "snapshot.isolated", "an array", isList), (name, index) =>
      read(name, `snapshot.isolated[${index}]`, "a string", isString),
    ),
  };
}

function readCircuit(given: unknown, path: string, isKey: (key: string) => boolean): CircuitSnapshot {
  const bag = read(given, path, "an object", isBag);
  const key = read(bag.key, `${path}.key`, "a string", isString);
  check(
    isKey(key),
    `${path}.key`,
    'JSON of [server or null, tool], as this breaker\'s keys are: it has no option "key"',
  );
  return {
    key,
    state: read(bag.state, `${path}.state`, '"closed", "open" or "half-open"', isState),
    openForMs: read(bag.openForMs, `${path}.openForMs`, "a finite number >= 0", isTime),
    consecutiveFailures: read(bag.consecutiveFailures, `${path}.consecutiveFailures`, "an integer >= 0", isCount),
    openings: read(bag.openings, `${path}.openings`, "an integer >= 0", isCount),
  };
}
