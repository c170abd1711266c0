import {
  type CallOptions,
  type CallReport,
  type Classifier,
  type Handler,
  pipeline,
  run,
  type ToolResult,
} from "@mcp-tx/core";
import { type ScriptedStep, scriptedTool, virtualTime } from "@mcp-tx/core/testing";
import { describe, expect, test } from "vitest";
import type { Logger, ReliableConfig } from "./config-types.js";
import { createPreset } from "./standard-order.js";

const OK: ToolResult = { content: [{ type: "text", text: "s3cret result" }] };
const LOST = new Error("s3cret message of the server");
const lost: Classifier = ({ error }) =>
  error === LOST ? { execution: "unknown", transient: true, code: "transport_error" } : undefined;

interface Line {
  readonly level: keyof Logger;
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** A logger like pino's that keeps what it gets. It needs its `this`, as real ones do. */
class Log implements Logger {
  readonly lines: Line[] = [];
  debug(fields: object, message: string): void {
    this.lines.push({ level: "debug", message, fields: { ...fields } });
  }
  info(fields: object, message: string): void {
    this.lines.push({ level: "info", message, fields: { ...fields } });
  }
  warn(fields: object, message: string): void {
    this.lines.push({ level: "warn", message, fields: { ...fields } });
  }
  error(fields: object, message: string): void {
    this.lines.push({ level: "error", message, fields: { ...fields } });
  }
}

async function logOf(
  config: ReliableConfig,
  steps: readonly ScriptedStep[],
  options?: CallOptions,
): Promise<readonly Line[]> {
  const time = virtualTime();
  const log = new Log();
  const preset = createPreset({ classifiers: [lost], logger: log, ...config, runtime: time.runtime });
  const handler: Handler = pipeline(preset.middleware, scriptedTool(steps, { repeatLast: true }));
  const request = { tool: "pay", args: { card: "s3cret card" }, options, side: "client" } as const;
  await time.run(run(handler, request, preset.wrapOptions).catch(() => undefined));
  return log.lines;
}

const FAILED: ToolResult = { ...OK, isError: true };

test("one line for each call, with names, numbers and codes", async () => {
  expect(await logOf({}, [{ result: OK, delayMs: 30 }])).toEqual([
    {
      level: "info",
      message: "tool call completed",
      fields: {
        tool: "pay",
        requestId: expect.stringMatching(/^[\da-f-]{36}$/),
        ...{ status: "completed", execution: "executed", attempts: 1, duplicate: false, waitedMs: 0, durationMs: 30 },
      },
    },
  ]);
});

test.each<[string, readonly ScriptedStep[], keyof Logger, string, string]>([
  ["a failed call warns", [{ result: FAILED }], "warn", "tool call failed", "tool_error"],
  ["a call of unknown outcome is an error", [{ error: LOST }], "error", "tool call unknown", "outcome_unknown"],
  ["a call that takes too long warns", [{ hang: true }], "warn", "tool call timeout", "outcome_unknown"],
])("%s", async (_, steps, level, message, code) => {
  const lines = await logOf({ timeoutMs: 50_000 }, steps);
  expect(lines.at(-1)).toMatchObject({ level, message, fields: { code } });
});

test("repetitions and changes of a circuit have lines of their own", async () => {
  const config: ReliableConfig = {
    retry: { replay: "always", jitter: "none", baseDelayMs: 10 },
    circuitBreaker: { consecutiveFailures: 2 },
  };
  const lines = await logOf({ ...config, timeoutMs: 5000 }, [{ error: LOST }]);
  expect(lines.map(({ level, message }) => [level, message])).toEqual([
    ["info", "tool call is repeated"],
    ["warn", "circuit is open"],
    ["info", "tool call is repeated"],
    ["error", "tool call unknown"],
  ]);
  expect(lines[0]?.fields).toEqual({
    tool: "pay",
    attempt: 2,
    delayMs: 10,
    code: "transport_error",
    execution: "unknown",
  });
});

describe("what is sensitive", () => {
  const everything = (lines: readonly Line[]): string => JSON.stringify(lines);
  const options: CallOptions = { idempotencyKey: "s3cret key", transactionId: "s3cret transaction" };

  test("is in no line, whatever happens, unless asked for", async () => {
    for (const steps of [[{ result: OK }], [{ result: FAILED }], [{ error: LOST }]]) {
      const lines = await logOf({ retry: { replay: "always", baseDelayMs: 1 } }, steps, options);
      expect(lines.length).toBeGreaterThan(0);
      expect(everything(lines)).not.toContain("s3cret");
    }
  });

  test("is there when asked for, each kind by its own switch", async () => {
    const only = async (logging: ReliableConfig["logging"], steps: readonly ScriptedStep[] = [{ result: OK }]) =>
      [...everything(await logOf({ logging }, steps, options)).matchAll(/s3cret (\w+)/g)].map(([, kind]) => kind);
    expect(await only({ arguments: true })).toEqual(["card"]);
    expect(await only({ results: true })).toEqual(["result"]);
    expect(await only({ keys: true })).toEqual(["key", "transaction"]);
    expect(await only({ messages: true })).toEqual([]);
    expect(await only({ messages: true }, [{ error: new Error("s3cret text") }])).toEqual(["text"]);
  });

  test("of arguments and results goes to debug, with the id of the call's own line", async () => {
    const lines = await logOf({ logging: { arguments: true, results: true } }, [{ result: OK }]);
    expect(lines.map(({ level }) => level)).toEqual(["debug", "debug", "info"]);
    expect(new Set(lines.map(({ fields }) => fields["requestId"])).size).toBe(1);
  });
});

test("a logger that throws changes nothing", async () => {
  const broken = (): never => {
    throw new Error("disk full");
  };
  const logger: Logger = { debug: broken, info: broken, warn: broken, error: broken };
  const reports: CallReport[] = [];
  const onReport = (report: CallReport): void => void reports.push(report);
  const preset = createPreset({ logger, logging: { arguments: true, results: true }, onReport });
  const handler = pipeline(preset.middleware, scriptedTool([{ result: OK }]));
  expect(await run(handler, { tool: "pay" }, preset.wrapOptions)).toEqual(OK);
  expect(reports).toHaveLength(1);
});

test("the user's own observers hear as well, and nobody else where there is no logger", async () => {
  const reports: CallReport[] = [];
  const events: string[] = [];
  const config: ReliableConfig = {
    onReport: (report) => void reports.push(report),
    onEvent: (name) => void events.push(name),
  };
  await logOf(config, [{ result: OK }]);
  expect(reports).toHaveLength(1);
  expect(events).toEqual(["attempt.start", "attempt.end"]);
  expect(createPreset(config).wrapOptions).toMatchObject(config);
  expect(createPreset({}).wrapOptions.onEvent).toBeUndefined();
});
