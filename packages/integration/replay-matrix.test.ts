import {
  type CallOptions,
  type CallReport,
  type Fetch,
  type Middleware,
  OutcomeUnknownError,
  reportOf,
  type ToolAnnotations,
  type ToolResult,
  type Verify,
  type WrapOptions,
  wrapClient,
} from "@mcp-tx/core";
import { keyClaiming } from "@mcp-tx/core/testing";
import { type RetryOptions, retry } from "@mcp-tx/retry";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CountingServer, closedPort, Scenario, type ScenarioScript } from "./fixtures/counting-server.js";
import { LINES, type Line, type SdkClient } from "./fixtures/lines.js";

const ANNOTATIONS = {
  "read-only": { readOnlyHint: true },
  idempotent: { idempotentHint: true, destructiveHint: false },
  destructive: { destructiveHint: true },
  unannotated: undefined,
} as const satisfies Record<string, ToolAnnotations | undefined>;

const CAUSES = ["refused", "429", "timeout", "closed", "isError", "abort"] as const;
const TRUST = ["trusted", "untrusted"] as const;
const PARTIES = [
  { key: true, announces: true },
  { key: true, announces: false },
  { key: false, announces: false },
  { key: false, announces: true },
] as const;

type Annotated = keyof typeof ANNOTATIONS;
type Cause = (typeof CAUSES)[number];

/** One cell of the matrix. */
interface Cell {
  readonly line: Line;
  readonly annotated: Annotated;
  readonly cause: Cause;
  readonly trusted: boolean;
  readonly key: boolean;
  readonly announces: boolean;
  readonly replay: "safe" | "always" | "never";
  readonly verify?: keyof typeof VERIFIERS | undefined;
}

/** What the caller got: a result, a result with `isError`, the error of the failed attempt, or the one that says "unknown". */
type End = "result" | "isError" | "last error" | "OutcomeUnknownError";

/** What must have happened. */
interface Expectation {
  readonly executions: number;
  readonly attempts: number;
  readonly end: End;
  readonly execution: CallReport["execution"];
  readonly status: CallReport["status"];
  readonly duplicate: boolean;
  readonly listings: number;
  readonly verifications: number;
}

// The model: the rules, written down a second time and by hand.

const ONE_RUN_FIRST_TRY = { executions: 1, attempts: 1, listings: 0, verifications: 0, duplicate: false } as const;
const DONE = { end: "result", execution: "executed", status: "completed" } as const;

/** Nothing ran, which is certain: the second attempt is the only execution. */
const RESENT_AFTER_NOTHING: Expectation = { ...ONE_RUN_FIRST_TRY, ...DONE, attempts: 2 };

function isHarmless({ annotated, trusted }: Cell): boolean {
  return trusted && (annotated === "read-only" || annotated === "idempotent");
}

/** The tool ran, and the client cannot know: rule 4 of the gate. */
function expectedAfterUnknown(cell: Cell): Expectation {
  const { announces, replay, verify, cause } = cell;
  const lost: Expectation = {
    ...ONE_RUN_FIRST_TRY,
    end: "OutcomeUnknownError",
    execution: "unknown",
    status: cause === "timeout" ? "timeout" : "unknown",
  };
  // A server that announces a store gets a key with every call, so it recognises the resend and answers from its record.
  const resent: Expectation = { ...RESENT_AFTER_NOTHING, executions: announces ? 1 : 2, duplicate: announces };
  if (replay === "always") return resent;
  if (replay === "safe" && announces) return resent;
  const listings = replay === "safe" && cell.trusted ? 1 : 0;
  if (replay === "safe" && isHarmless(cell)) return { ...resent, listings };
  if (verify === undefined) return { ...lost, listings };
  if (verify === "executed") return { ...ONE_RUN_FIRST_TRY, ...DONE, listings, verifications: 1 };
  // "Not executed" is a promise of the user that the first attempt has no effect; here he errs, so that both are seen.
  if (verify === "not-executed") return { ...resent, listings, verifications: 1 };
  return { ...lost, listings, verifications: 1 };
}

function expectationOf(cell: Cell): Expectation {
  switch (cell.cause) {
    case "refused":
    case "429":
      return RESENT_AFTER_NOTHING;
    case "isError":
      return { ...ONE_RUN_FIRST_TRY, end: "isError", execution: "executed", status: "failed" };
    case "abort":
      return { ...ONE_RUN_FIRST_TRY, end: "last error", execution: "unknown", status: "cancelled" };
    case "timeout":
    case "closed":
      return expectedAfterUnknown(cell);
  }
}

// The causes, for real.

/** Long enough for the first attempt to arrive, also on a busy machine. */
const ATTEMPT_TIMEOUT_MS = 150;
const PLENTY_MS = 10_000;
const WINDOW_MS = 60_000;
const OK: ToolResult = { content: [{ type: "text", text: "done" }] };
const FAILED: ToolResult = { content: [{ type: "text", text: "no such row" }], isError: true };
const VERIFIED: ToolResult = { content: [{ type: "text", text: "found by verify" }] };

const VERIFIERS = {
  executed: () => ({ execution: "executed", result: VERIFIED }),
  "not-executed": () => ({ execution: "not-executed" }),
  unknown: () => ({ execution: "unknown" }),
  throws: () => {
    throw new Error("the ledger is down");
  },
} as const satisfies Record<string, Verify>;

function scriptOf(cell: Cell, scenario: () => Scenario): ScenarioScript {
  const windowMs = cell.announces ? WINDOW_MS : undefined;
  const annotations = ANNOTATIONS[cell.annotated];
  const faultOfFirst = cell.cause === "429" ? "429" : cell.cause === "closed" ? "cut-after-execution" : undefined;
  return {
    windowMs,
    annotations,
    fault: (post) => (post === 1 ? faultOfFirst : undefined),
    async execute(execution) {
      if (cell.cause === "isError") return FAILED;
      const hangs = execution === 1 && (cell.cause === "timeout" || cell.cause === "abort");
      // Runs on until the client has given up, and then to its end.
      if (hangs) await scenario().cancelled;
      return OK;
    },
  };
}

let server: CountingServer;
let portOfNobody: number;

beforeAll(async () => {
  server = await CountingServer.start();
  portOfNobody = await closedPort();
});
afterAll(() => server.stop());

/** A `fetch` that sends the first call to a port where nobody listens. */
function refusingFirstCall(): Fetch {
  let refused = false;
  return (url, init) => {
    const isCall = typeof init?.body === "string" && init.body.includes('"tools/call"');
    if (refused || !isCall) return fetch(url, init);
    refused = true;
    const elsewhere = new URL(url);
    elsewhere.port = String(portOfNobody);
    return fetch(elsewhere, init);
  };
}

/** What came out of one call, and what the server saw of it. */
interface Observed {
  readonly value: unknown;
  readonly thrown: boolean;
  readonly report: CallReport;
}

async function observe(calling: Promise<ToolResult>): Promise<Observed> {
  const settled = await calling.then(
    (value) => ({ value, thrown: false }),
    (value: unknown) => ({ value, thrown: true }),
  );
  const report = reportOf(settled.value);
  if (report === undefined) throw new Error("no report on what the call gave", { cause: settled.value });
  return { ...settled, report };
}

function endOf({ value, thrown }: Observed): End {
  if (!thrown) return (value as ToolResult).isError === true ? "isError" : "result";
  return OutcomeUnknownError.isInstance(value) ? "OutcomeUnknownError" : "last error";
}

interface Setup {
  readonly line: Line;
  readonly script: ScenarioScript | ((scenario: () => Scenario) => ScenarioScript);
  readonly fetch?: Fetch | undefined;
  readonly retry?: RetryOptions | undefined;
  readonly wrap?: WrapOptions | undefined;
}

interface Connection {
  readonly url: URL;
  readonly fetch?: Fetch | undefined;
  readonly middleware: readonly Middleware[];
  readonly wrap?: WrapOptions | undefined;
}

/** Connects a client over Streamable HTTP and wraps it. */
async function connect(line: Line, { url, fetch: send = fetch, middleware, wrap }: Connection): Promise<SdkClient> {
  const client = line.client();
  await client.connect(line.http(url, { fetch: send }));
  return wrapClient(client, middleware, wrap);
}

/** Only the first attempt is meant to time out: the others have time, however busy the machine is. */
const patientLater: Middleware = (ctx, next) => {
  if (ctx.attempt === 1 || ctx.options.attemptTimeoutMs === undefined) return next(ctx);
  return next({ ...ctx, options: { ...ctx.options, attemptTimeoutMs: PLENTY_MS } });
};

type Act = (call: (options: CallOptions) => Promise<Observed>, scenario: Scenario) => Promise<Observed>;
const callOnce: Act = (call) => call({});

/** Connects, calls, and waits until nothing of the call can still be under way. */
async function play(
  { line, script, fetch: send, retry: options, wrap }: Setup,
  act: Act = callOnce,
): Promise<{ readonly observed: Observed; readonly scenario: Scenario }> {
  const scenario: Scenario = new Scenario(typeof script === "function" ? script(() => scenario) : script);
  const middleware = [keyClaiming(), retry({ baseDelayMs: 1, maxAttempts: 3, ...options }), patientLater];
  const client = await connect(line, { url: server.add(scenario), fetch: send, middleware, wrap });
  try {
    const observed = await act((callOptions) => observe(line.call(client, "act", {}, { ...callOptions })), scenario);
    await scenario.settled();
    // Whatever the call has sent without waiting for it has arrived before this has.
    await (client as SdkClient & { ping(): Promise<unknown> }).ping();
    return { observed, scenario };
  } finally {
    await client.close();
  }
}

async function check(cell: Cell): Promise<void> {
  let verifications = 0;
  const { verify: verdict } = cell;
  const verify: Verify | undefined =
    verdict === undefined
      ? undefined
      : () => {
          verifications += 1;
          return VERIFIERS[verdict]();
        };
  const setup: Setup = {
    line: cell.line,
    script: (scenario) => scriptOf(cell, scenario),
    fetch: cell.cause === "refused" ? refusingFirstCall() : undefined,
    retry: { replay: cell.replay },
    wrap: { trustAnnotations: cell.trusted, verify },
  };
  const { observed, scenario } = await play(setup, (call, { began }) => {
    const controller = new AbortController();
    const options: CallOptions = {
      ...(cell.key && { idempotencyKey: "order-42" }),
      ...(cell.cause === "timeout" && { attemptTimeoutMs: ATTEMPT_TIMEOUT_MS }),
      signal: controller.signal,
    };
    if (cell.cause === "abort") began.then(() => controller.abort(new Error("the user left")));
    return call(options);
  });
  const { report } = observed;
  const seen: Expectation = {
    executions: scenario.finished,
    attempts: report.attempts,
    end: endOf(observed),
    execution: report.execution,
    status: report.status,
    duplicate: report.duplicate,
    listings: scenario.listings,
    verifications,
  };
  expect(seen).toEqual(expectationOf(cell));
  checkWire(cell, scenario, report);
}

/** A plain server sees plain MCP; an announcing one the same key with every attempt. */
function checkWire({ key, announces }: Cell, { callMetas }: Scenario, report: CallReport): void {
  const keys = new Set(callMetas.map((meta) => meta?.idempotencyKey));
  const expected = announces ? (key ? "order-42" : report.requestId) : undefined;
  expect(keys).toEqual(new Set([expected]));
}

function titleOf({ line, annotated, cause, trusted, key, announces, replay, verify }: Cell): string {
  const parties = `${key ? "key" : "no key"} + ${announces ? "announcing" : "plain"} server`;
  const parts = [line.name, annotated, cause, trusted ? "trusted" : "untrusted", parties];
  if (replay !== "safe") parts.push(`replay ${replay}`);
  if (verify !== undefined) parts.push(`verify ${verify}`);
  return parts.join(" · ");
}

type Axes = { readonly [K in keyof Cell]-?: readonly Cell[K][] };

/** The product of all axes. */
function product(axes: Axes): readonly (readonly [string, Cell])[] {
  let rows: readonly Partial<Cell>[] = [{}];
  for (const [name, values] of Object.entries(axes)) {
    rows = rows.flatMap((row) => values.map((value) => ({ ...row, [name]: value })));
  }
  // Every axis has put its value in.
  return (rows as readonly Cell[]).map((cell) => [titleOf(cell), cell]);
}

const ALL_ANNOTATED: readonly Annotated[] = ["read-only", "idempotent", "destructive", "unannotated"];
const MAIN = TRUST.flatMap((trust) =>
  PARTIES.flatMap(({ key, announces }) =>
    product({
      line: LINES,
      annotated: ALL_ANNOTATED,
      cause: CAUSES,
      trusted: [trust === "trusted"],
      key: [key],
      announces: [announces],
      replay: ["safe"],
      verify: [undefined],
    }),
  ),
);

describe("the replay matrix", () => {
  test("has a cell for every combination", () => {
    expect(new Set(MAIN.map(([title]) => title)).size).toBe(4 * 6 * 2 * 4 * 2);
  });
  test.concurrent.each(MAIN)("%s", (_title, cell) => check(cell));
});

describe("the replay matrix with replay always and never", () => {
  const cells = product({
    line: LINES,
    annotated: ["read-only", "destructive"],
    cause: CAUSES,
    trusted: [true, false],
    key: [false],
    announces: [true, false],
    replay: ["always", "never"],
    verify: [undefined],
  });
  test.concurrent.each(cells)("%s", (_title, cell) => check(cell));
});

describe("the replay matrix with verify", () => {
  const cells = product({
    line: LINES,
    annotated: ["read-only", "unannotated"],
    cause: ["timeout", "closed", "abort", "isError"],
    trusted: [true, false],
    key: [false],
    announces: [true, false],
    replay: ["safe", "never"],
    verify: ["executed", "not-executed", "unknown", "throws"],
  }).filter(([, { cause, trusted, annotated }]) => cause === "closed" || (!trusted && annotated === "unannotated"));
  test.concurrent.each(cells)("%s", (_title, cell) => check(cell));
});

/** A call without a key, whatever the middle of the matrix leaves out: what comes after what. */
const TROUBLES = {
  ok: { fault: undefined, result: OK },
  isError: { fault: undefined, result: FAILED },
  closed: { fault: "cut-after-execution", result: OK },
  "429": { fault: "429", result: OK },
} as const;

/** Several failures in a row, on an untrusted destructive tool unless said otherwise. */
interface Sequence {
  readonly troubles: readonly (keyof typeof TROUBLES)[];
  readonly announces: boolean;
  readonly retry?: RetryOptions;
  readonly trusted?: boolean;
  readonly expected: Omit<Expectation, "listings" | "verifications"> & { readonly epochs?: readonly number[] };
}

const REPEAT_FAILURES: RetryOptions = { retryOn: () => true };
const GAVE_UP = { end: "last error", duplicate: false } as const;
const UNKNOWN = { end: "OutcomeUnknownError", execution: "unknown", status: "unknown", duplicate: false } as const;

const SEQUENCES: readonly Sequence[] = [
  // A failed run is repeated on request. To a server with a store, the epoch says that this is wanted, not a duplicate.
  {
    troubles: ["isError", "ok"],
    announces: true,
    retry: REPEAT_FAILURES,
    expected: { ...DONE, executions: 2, attempts: 2, duplicate: false, epochs: [0, 1] },
  },
  {
    troubles: ["isError", "ok"],
    announces: false,
    retry: REPEAT_FAILURES,
    expected: { ...DONE, executions: 2, attempts: 2, duplicate: false },
  },
  {
    troubles: ["isError", "isError", "isError"],
    announces: true,
    retry: REPEAT_FAILURES,
    expected: {
      end: "isError",
      execution: "executed",
      status: "failed",
      executions: 3,
      attempts: 3,
      duplicate: false,
      epochs: [0, 1, 2],
    },
  },
  {
    troubles: ["isError", "isError", "isError"],
    announces: false,
    retry: REPEAT_FAILURES,
    expected: { end: "isError", execution: "executed", status: "failed", executions: 3, attempts: 3, duplicate: false },
  },
  // The wanted repetition is lost: its resend is a duplicate again, of the same epoch.
  {
    troubles: ["isError", "closed", "ok"],
    announces: true,
    retry: REPEAT_FAILURES,
    expected: { ...DONE, executions: 2, attempts: 3, duplicate: true, epochs: [0, 1, 1] },
  },
  {
    troubles: ["isError", "closed", "ok"],
    announces: false,
    retry: REPEAT_FAILURES,
    expected: { ...UNKNOWN, executions: 2, attempts: 2 },
  },
  // Wanting a repetition does not open the gate.
  {
    troubles: ["closed", "ok"],
    announces: false,
    retry: REPEAT_FAILURES,
    expected: { ...UNKNOWN, executions: 1, attempts: 1 },
  },
  // A failure that a record answers: still one run.
  {
    troubles: ["closed", "closed", "closed"],
    announces: true,
    expected: { ...GAVE_UP, execution: "unknown", status: "unknown", executions: 1, attempts: 3, epochs: [0, 0, 0] },
  },
  {
    troubles: ["closed", "closed", "closed"],
    announces: false,
    trusted: true,
    expected: { ...GAVE_UP, execution: "unknown", status: "unknown", executions: 3, attempts: 3 },
  },
  // No later refusal makes an unknown attempt known, nor does the call end with it: it would invite to call again.
  {
    troubles: ["closed", "429", "429"],
    announces: true,
    expected: { ...UNKNOWN, executions: 1, attempts: 3 },
  },
  {
    troubles: ["closed", "429", "ok"],
    announces: true,
    expected: { ...DONE, executions: 1, attempts: 3, duplicate: true, epochs: [0, 0] },
  },
  {
    troubles: ["429", "closed", "ok"],
    announces: false,
    expected: { ...UNKNOWN, executions: 1, attempts: 2 },
  },
  {
    troubles: ["429", "429", "429"],
    announces: false,
    expected: { ...GAVE_UP, execution: "not-executed", status: "rejected", executions: 0, attempts: 3 },
  },
  {
    troubles: ["429", "ok"],
    announces: false,
    retry: { retryOn: () => false },
    expected: { ...GAVE_UP, execution: "not-executed", status: "rejected", executions: 0, attempts: 1 },
  },
];

const SEQUENCE_CELLS = LINES.flatMap((line) =>
  SEQUENCES.map((sequence): readonly [string, Line, Sequence] => {
    const { troubles, announces, retry: options, trusted } = sequence;
    const how =
      options?.retryOn === undefined ? "" : options === REPEAT_FAILURES ? " · retryOn true" : " · retryOn false";
    const server = announces ? "announcing" : trusted === true ? "trusted plain" : "plain";
    return [`${line.name} · ${troubles.join(", ")} · ${server} server${how}`, line, sequence];
  }),
);

describe("failures in a row", () => {
  test.concurrent.each(SEQUENCE_CELLS)(
    "%s",
    async (_title, line, { troubles, announces, retry: options, trusted, expected }) => {
      const script: ScenarioScript = {
        annotations: { readOnlyHint: true },
        windowMs: announces ? WINDOW_MS : undefined,
        fault: (post) => TROUBLES[troubles[post - 1] ?? "ok"].fault,
        // On an announcing server the runs are fewer than the posts; there, only the first ones fail.
        execute: (execution) => TROUBLES[troubles[execution - 1] ?? "ok"].result,
      };
      const setup: Setup = { line, script, retry: options, wrap: { trustAnnotations: trusted === true } };
      const { observed, scenario } = await play(setup);

      const { attempts, execution, status, duplicate } = observed.report;
      const { epochs, ...rest } = expected;
      expect({ executions: scenario.finished, end: endOf(observed), attempts, execution, status, duplicate }).toEqual(
        rest,
      );
      if (epochs !== undefined) expect(scenario.callMetas.map((meta) => meta?.epoch)).toEqual(epochs);
    },
  );
});

describe.each(LINES)("$name: a key in a store", (line) => {
  function cutFirst(windowMs: number): ScenarioScript {
    return { windowMs, fault: (post) => (post === 1 ? "cut-after-execution" : undefined) };
  }

  test("that is lost between two attempts ends the call unknown, and nothing runs twice", async () => {
    let lost: Scenario | undefined;
    const setup: Setup = {
      line,
      script: (scenario) => ({
        ...cutFirst(WINDOW_MS),
        execute() {
          lost = scenario();
          return OK;
        },
      }),
      retry: {
        // Between the attempts the server restarts with an empty store.
        delay() {
          lost?.loseStore();
          return 1;
        },
      },
    };
    const { observed, scenario } = await play(setup, (call) => call({ idempotencyKey: "k" }));
    expect(scenario.callMetas.map((meta) => meta?.expectStore)).toEqual([undefined, "store-1"]);
    expect(scenario.finished).toBe(1);
    expect(endOf(observed)).toBe("OutcomeUnknownError");
    expect(observed.report).toMatchObject({ attempts: 2, execution: "unknown", status: "unknown", duplicate: false });
  });

  test("is not relied on once its window is over", async () => {
    const setup: Setup = {
      line,
      script: {
        ...cutFirst(20),
        execute: () => new Promise((resolve) => setTimeout(resolve, 40, OK)),
      },
    };
    const { observed, scenario } = await play(setup);
    expect(scenario.finished).toBe(1);
    expect(scenario.posts).toBe(1);
    expect(endOf(observed)).toBe("OutcomeUnknownError");
    expect(observed.report).toMatchObject({ attempts: 1, execution: "unknown", status: "unknown" });
  });

  test("is not relied on when its window ends during the backoff", async () => {
    const setup: Setup = {
      line,
      script: cutFirst(250),
      retry: { delay: () => 300 },
    };
    const { observed, scenario } = await play(setup);
    expect(scenario.posts).toBe(1);
    expect(endOf(observed)).toBe("OutcomeUnknownError");
    expect(observed.report).toMatchObject({ attempts: 1, execution: "unknown", status: "unknown" });
    expect(observed.report.waitedMs).toBeGreaterThanOrEqual(300);
  });

  test("is refused before anything is sent when nobody honours keys", async () => {
    const scenario = new Scenario({});
    const client = await connect(line, { url: server.add(scenario), middleware: [retry()] });
    try {
      await expect(line.call(client, "act", {}, { idempotencyKey: "k" })).rejects.toThrow(TypeError);
      expect(scenario.posts).toBe(0);
    } finally {
      await client.close();
    }
  });

  test("keeps one key through two wrappers, so that a resend of the outer one is recognised", async () => {
    const scenario = new Scenario(cutFirst(WINDOW_MS));
    const once = await connect(line, { url: server.add(scenario), middleware: [] });
    const client = wrapClient(once, [retry({ baseDelayMs: 1 })]);
    try {
      const observed = await observe(line.call(client, "act"));
      expect(scenario.callMetas.map((meta) => meta?.idempotencyKey)).toEqual([
        observed.report.requestId,
        observed.report.requestId,
      ]);
      expect(scenario.finished).toBe(1);
      expect(endOf(observed)).toBe("result");
    } finally {
      await client.close();
    }
  });
});
