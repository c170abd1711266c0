import type { ChildProcess } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type CallReport, type Middleware, OutcomeUnknownError, wrapClient, wrapTransport } from "@mcp-tx/core";
import { retry } from "@mcp-tx/retry";
import { expect, onTestFinished, test } from "vitest";
import { type Attachment, PLACES } from "./fixtures/attach.js";
import type { Line, SdkClient, SdkTransport } from "./fixtures/lines.js";
import { runningNow } from "./fixtures/running-clock.js";

const SETTLES_WITHIN_MS = 100;
/** Longer than any test: what settles earlier did not wait for the tool. */
const LONG_MS = 20_000;

/** A client of a server in a process of its own. */
interface Killable {
  readonly client: SdkClient;
  /** What the client sends through: the wrapped transport, where it is the transport that is wrapped. */
  readonly transport: SdkTransport;
  readonly reports: readonly CallReport[];
  /** Errors that the client reported beside the results of calls. */
  readonly errors: readonly Error[];
  /** Resolves once the server has begun so many calls. */
  began(calls: number): Promise<void>;
  /** Kills the server. */
  kill(): void;
  /** When this process heard that the server was dead, on `runningNow`. */
  diedAt(): number;
}

interface KillableSpec {
  readonly line: Line;
  readonly via: Attachment;
  readonly middleware?: readonly Middleware[];
}

async function connectKillable({ line, via, middleware = [] }: KillableSpec): Promise<Killable> {
  const folder = mkdtempSync(join(tmpdir(), "stdio-kill-"));
  const log = join(folder, "executions");
  const stdio = line.stdio({ EXECUTION_LOG: log });
  const reports: CallReport[] = [];
  const errors: Error[] = [];
  const options = {
    onReport(report: CallReport): void {
      reports.push(report);
    },
  };
  const bare = line.client();
  const client = via === "wrapClient" ? wrapClient(bare, middleware, options) : bare;
  const transport: SdkTransport = via === "wrapClient" ? stdio : wrapTransport(stdio, middleware, options);
  await bare.connect(transport);
  (bare as { onerror?: (error: Error) => void }).onerror = (error) => errors.push(error);
  onTestFinished(async () => {
    await bare.close();
    rmSync(folder, { recursive: true });
  });
  const { pid } = stdio;
  if (pid === null) throw new Error("the server did not start");
  let diedAt = Number.NaN;
  // Private in both SDKs, but nothing else tells.
  (stdio as unknown as { readonly _process: ChildProcess })._process.once("exit", () => {
    diedAt = runningNow();
  });

  return {
    client,
    transport,
    reports,
    errors,
    began: async (calls) => {
      const count = (): number => (existsSync(log) ? readFileSync(log, "utf8").split("\n").length - 1 : 0);
      await expect.poll(count, { interval: 2, timeout: 10_000 }).toBe(calls);
    },
    kill: () => {
      process.kill(pid, "SIGKILL");
    },
    diedAt: () => diedAt,
  };
}

/** How a call ended and when. */
interface Ended {
  readonly error: unknown;
  readonly at: number;
}

function endOf(calling: Promise<unknown>): Promise<Ended> {
  return calling.then(
    (result) => {
      throw new Error("the call of a killed server gave a result", { cause: result });
    },
    (error: unknown) => ({ error, at: runningNow() }),
  );
}

/** Notes rejections that nobody handles while the test runs. */
function watchRejections(): { readonly unhandled: readonly unknown[] } {
  const unhandled: unknown[] = [];
  const note = (reason: unknown): void => {
    unhandled.push(reason);
  };
  process.on("unhandledRejection", note);
  onTestFinished(() => {
    process.off("unhandledRejection", note);
  });
  return { unhandled };
}

/** Node tells of unhandled rejections when a turn of its loop ends. */
async function turns(): Promise<void> {
  for (let turn = 0; turn < 3; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

const MID_CALL = { execution: "unknown", status: "unknown", attempts: 1, ack: false, duplicate: false } as const;

test.each(PLACES)("$on: a call settles at once, unknown, when its server is killed", async (place) => {
  const { client, reports, began, kill, diedAt } = await connectKillable(place);
  const ending = endOf(place.line.call(client, "slow", { ms: LONG_MS }));
  await began(1);
  kill();
  const { at } = await ending;
  expect(at - diedAt()).toBeLessThan(SETTLES_WITHIN_MS);
  await turns();
  expect(reports).toEqual([
    expect.objectContaining({ ...MID_CALL, error: expect.objectContaining({ code: "transport_error" }) }),
  ]);
});

test.each(PLACES)("$on: rejects a killed call as the bare client does", async (place) => {
  const { line } = place;
  const bare = line.client();
  const stdio = line.stdio();
  await bare.connect(stdio);
  onTestFinished(() => bare.close());
  const expected = await endOf(line.call(bare, "dies"));
  const { client } = await connectKillable(place);
  const { error } = await endOf(line.call(client, "dies"));
  const facts = (thrown: unknown): unknown => {
    const { message, code } = thrown as Error & { code?: unknown };
    return { class: Object.getPrototypeOf(thrown), message, code };
  };
  expect(facts(error)).toEqual(facts(expected.error));
});

test.each(PLACES)("$on: retry does not send a killed call again, and says so", async (place) => {
  const { client, reports, errors, began, kill, diedAt } = await connectKillable({
    ...place,
    middleware: [retry({ baseDelayMs: 1 })],
  });
  const ending = endOf(place.line.call(client, "slow", { ms: LONG_MS }));
  await began(1);
  kill();
  const { error, at } = await ending;
  expect(at - diedAt()).toBeLessThan(SETTLES_WITHIN_MS);
  // Through a wrapped transport the client hears that the connection closed before it could hear anything else.
  if (place.via === "wrapClient") expect(OutcomeUnknownError.isInstance(error)).toBe(true);
  await turns();
  expect(reports).toEqual([expect.objectContaining(MID_CALL)]);
  expect(errors).toEqual([]);
});

test.each(PLACES)("$on: a replay that finds the server dead leaves the call unknown", async (place) => {
  const middleware = [retry({ baseDelayMs: 1, replay: "always" })];
  const { client, reports, errors, began, kill } = await connectKillable({ ...place, middleware });
  const ending = endOf(place.line.call(client, "slow", { ms: LONG_MS }));
  await began(1);
  kill();
  await ending;
  await expect.poll(() => reports.length).toBe(1);
  expect(reports[0]).toMatchObject({ execution: "unknown", status: "unknown", ack: false });
  expect(errors).toEqual([]);
});

test.each(PLACES)("$on: 100 calls settle at once when their server is killed", async (place) => {
  const { unhandled } = watchRejections();
  const { client, reports, errors, began, kill, diedAt } = await connectKillable({
    ...place,
    middleware: [retry({ baseDelayMs: 1 })],
  });
  const endings = Array.from({ length: 100 }, () => endOf(place.line.call(client, "slow", { ms: LONG_MS })));
  await began(100);
  kill();
  const ended = await Promise.all(endings);
  expect(Math.max(...ended.map(({ at }) => at)) - diedAt()).toBeLessThan(SETTLES_WITHIN_MS);
  await turns();
  expect(reports).toHaveLength(100);
  expect(new Set(reports.map(({ requestId }) => requestId)).size).toBe(100);
  for (const report of reports) expect(report).toMatchObject(MID_CALL);
  expect(unhandled).toEqual([]);
  expect(errors).toEqual([]);
});

const NEVER_SENT = { execution: "not-executed", attempts: 0, ack: false } as const;

test.each(PLACES.filter(({ via }) => via === "wrapClient"))(
  "$on: a call on a dead client is not executed",
  async (place) => {
    const { unhandled } = watchRejections();
    const { client, reports } = await connectKillable({ ...place, middleware: [retry({ baseDelayMs: 1 })] });
    await endOf(place.line.call(client, "dies"));
    await endOf(place.line.call(client, "echo", { text: "x" }));
    expect(reports.map(({ execution }) => execution)).toEqual(["unknown", "not-executed"]);
    expect(reports[1]).toMatchObject(NEVER_SENT);
    await turns();
    expect(unhandled).toEqual([]);
  },
);

// The SDK's client refuses a call without a transport by itself, so the transport is called as a host of its own would.
test.each(PLACES.filter(({ via }) => via === "wrapTransport"))(
  "$on: a call on a dead transport is not executed",
  async (place) => {
    const { unhandled } = watchRejections();
    const { client, transport, reports } = await connectKillable({ ...place, middleware: [retry({ baseDelayMs: 1 })] });
    await endOf(place.line.call(client, "dies"));
    await expect(place.line.call(client, "echo", { text: "x" })).rejects.toThrow("Not connected");
    const message = {
      jsonrpc: "2.0",
      id: 99,
      method: "tools/call",
      params: { name: "echo", arguments: { text: "x" } },
    };
    await expect(transport.send(message)).rejects.toThrow("Not connected");
    expect(reports.map(({ execution }) => execution)).toEqual(["unknown", "not-executed"]);
    expect(reports[1]).toMatchObject({ execution: "not-executed", ack: false });
    await turns();
    expect(unhandled).toEqual([]);
  },
);
