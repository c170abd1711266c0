import { type CallContext, type Handler, pipeline, type ToolResult } from "@mcp-tx/core";
import { retry } from "@mcp-tx/retry";
import { readyContext } from "../harness/context.js";
import type { Group, Target, Task } from "../harness/group.js";
import { cockatiels, pRetries } from "../harness/peers.js";

const RESULT: ToolResult = Object.freeze({ content: [] });
const MAX_ATTEMPTS = 3;

/** What one writes without a library: three attempts, for thrown errors and for `isError` alike. No delay, no timer. */
function handLoop(next: Handler, isWanted: (failure: unknown) => boolean): Handler {
  return async (ctx) => {
    for (let attempt = 1; ; attempt += 1) {
      try {
        const result = await next(ctx);
        if (result.isError !== true || attempt === MAX_ATTEMPTS || !isWanted(result)) return result;
      } catch (error) {
        if (attempt === MAX_ATTEMPTS || !isWanted(error)) throw error;
      }
    }
  };
}

/**
 * Contenders that succeed at once. cockatiel's policy and p-retry's options are made once, as their documentation shows.
 * cockatiel repeats throws only, as configured here; p-retry has no reusable policy and reads its options on every call.
 */
function successes(ctx: CallContext): Readonly<Record<string, Task>> {
  const loop = handLoop(
    async () => RESULT,
    () => true,
  );
  const ours = pipeline([retry()], async () => RESULT);
  const policies = cockatiels.map(({ name, api }): [string, Task] => {
    const policy = api.retry(api.handleAll, {
      maxAttempts: MAX_ATTEMPTS - 1,
      backoff: new api.ExponentialBackoff(),
    });
    const tool: Handler = async () => RESULT;
    const execute = () => tool(ctx);
    return [name, () => policy.execute(execute)];
  });
  return {
    "hand loop": () => loop(ctx),
    "retry()": () => ours(ctx),
    ...Object.fromEntries(policies),
    ...retriedBy(ctx, () => async () => RESULT, { retries: MAX_ATTEMPTS - 1 }),
  };
}

/** p-retry in each major. */
function retriedBy(
  ctx: CallContext,
  tool: () => Handler,
  options: { readonly retries: number; readonly minTimeout?: number },
): Readonly<Record<string, Task>> {
  const tasks = pRetries.map(({ name, api }): [string, Task] => {
    const tried = tool();
    const attempt = () => tried(ctx);
    return [name, () => api(attempt, options)];
  });
  return Object.fromEntries(tasks);
}

/** Each major of a peer is a row. */
function against(peers: readonly { readonly name: string }[], atMost?: number): readonly Target[] {
  return peers.map(({ name }) => ({ ours: "retry()", peer: name, atMost }));
}

/** Fails twice, then succeeds; every failure is a new error, as a failing tool makes one. */
function flaky(): Handler {
  let calls = 0;
  return async () => {
    calls += 1;
    if (calls % MAX_ATTEMPTS === 0) return RESULT;
    throw new Error("connection reset");
  };
}

/** As {@link flaky} with one error for all: nothing is left but the machinery of the repetition. */
function flakyWithOneError(): Handler {
  const error = new Error("connection reset");
  let calls = 0;
  return async () => {
    calls += 1;
    if (calls % MAX_ATTEMPTS === 0) return RESULT;
    throw error;
  };
}

/**
 * Contenders that fail twice and wait for nothing. cockatiel arms a timer also for a delay of 0, which costs it a turn of the
 * event loop (1 ms): it is not in this group because no target compares with it.
 */
function failures(ctx: CallContext, fail: () => Handler): Readonly<Record<string, Task>> {
  const loop = handLoop(fail(), () => true);
  const zeroDelay = { maxAttempts: MAX_ATTEMPTS, baseDelayMs: 0, jitter: "none", retryOn: () => true } as const;
  const ours = pipeline([retry(zeroDelay)], fail());
  return {
    "hand loop": () => loop(ctx),
    "retry()": () => ours(ctx),
    ...retriedBy(ctx, fail, { retries: MAX_ATTEMPTS - 1, minTimeout: 0 }),
  };
}

export default async (): Promise<readonly Group[]> => {
  const ctx = await readyContext();
  return [
    {
      title: "retry: success at once",
      measure: "time",
      contenders: successes(ctx),
      reference: "hand loop",
      targets: [
        { ours: "retry()", peer: "hand loop", atMost: 1.25 },
        ...against(cockatiels, 0.75),
        ...against(pRetries, 0.6),
      ],
    },
    {
      title: "retry: bytes per call, success at once",
      measure: "bytes",
      contenders: successes(ctx),
      reference: "hand loop",
      targets: [
        { ours: "retry()", atMost: 700 },
        { ours: "retry()", peer: "hand loop" },
      ],
    },
    {
      title: "retry: two failures, zero delay",
      measure: "time",
      contenders: failures(ctx, flaky),
      reference: "hand loop",
      targets: [{ ours: "retry()", peer: "hand loop", atMost: 1.3 }, ...against(pRetries, 0.75)],
    },
    {
      title: "retry: two failures that cost nothing to make",
      measure: "time",
      contenders: failures(ctx, flakyWithOneError),
      reference: "hand loop",
      targets: [{ ours: "retry()", peer: "hand loop" }, ...against(pRetries)],
    },
  ];
};
