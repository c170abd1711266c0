import { RECEIPT_KEY, textOf, wrapClient, wrapTool } from "@mcp-tx/core";
import { describe, expect, test } from "vitest";
import {
  type AttachSpec,
  attach,
  attachInMemory,
  type Harness,
  type Observed,
  PLACES,
  type Place,
} from "./fixtures/attach.js";
import { type CallHandler, LINES, type LowLevelSpec, type SdkServer } from "./fixtures/lines.js";
import { rawPeer } from "./fixtures/raw-peer.js";
import { runningNow } from "./fixtures/running-clock.js";
import { type Execution, registerTools } from "./fixtures/tools.mjs";

const OK = { content: [{ type: "text", text: "ok" }] };
const never = (): Promise<never> => new Promise(() => undefined);

function fixtureServer({ line }: Place): { readonly server: SdkServer; readonly executions: Execution[] } {
  const executions: Execution[] = [];
  const server = line.mcpServer();
  registerTools(server, (entry) => executions.push(entry));
  return { server, executions };
}

function withTools(place: Place, spec?: AttachSpec): Promise<Harness> {
  return attachInMemory(place.line, place.via, fixtureServer(place).server, spec);
}

function answering(
  { line, via }: Place,
  call: CallHandler,
  spec?: AttachSpec & LowLevelSpec,
): ReturnType<typeof attachInMemory> {
  return attachInMemory(line, via, line.lowLevelServer({ call, ...spec }), spec);
}

/** A server whose every answer to `tools/call` is this JSON-RPC error. */
function failing(place: Place, code: number, data?: unknown): Promise<Harness> {
  return answering(place, () => {
    throw Object.assign(new Error("refused by the server"), { code, data });
  });
}

const EXECUTED = { execution: "executed", ack: true, attempts: 1, duplicate: false } as const;
const UNANSWERED = { execution: "unknown", ack: false, attempts: 1 } as const;

function codeOf({ error }: Observed): unknown {
  return (error as { readonly code?: unknown } | undefined)?.code;
}

describe.each(PLACES)("$on in memory", (place) => {
  const { line, via } = place;
  const timeoutCode = line.name === "v1" ? -32_001 : "REQUEST_TIMEOUT";
  const closedCode = line.name === "v1" ? -32_000 : "CONNECTION_CLOSED";

  test("reports an answered call as completed", async () => {
    const { call } = await withTools(place);
    const seen = await call("echo", { text: "hello" });
    expect(seen.result).toEqual({ content: [{ type: "text", text: "hello" }] });
    expect(seen.report).toMatchObject({ ...EXECUTED, status: "completed", tool: "echo" });
    expect(seen.outcome).toEqual({ status: "success", execution: "executed", transient: false });
  });

  test("reports an attempt timeout as unknown", async () => {
    const { call } = await answering(place, never, { wrap: { attemptTimeoutMs: 40 } });
    const seen = await call("any");
    expect(seen.report).toMatchObject({ ...UNANSWERED, status: "timeout", error: { code: "attempt_timeout" } });
    expect(seen.outcome).toMatchObject({
      status: "failure",
      execution: "unknown",
      transient: true,
      code: "attempt_timeout",
    });
    expect(codeOf(seen)).toBe(via === "wrapClient" ? timeoutCode : -31_001);
  });

  test("reports a passed deadline as unknown and final", async () => {
    const { call } = await answering(place, never, { wrap: { timeoutMs: 40 } });
    const seen = await call("any");
    expect(seen.report).toMatchObject({ ...UNANSWERED, status: "timeout", error: { code: "deadline" } });
    expect(seen.outcome).toMatchObject({ status: "failure", execution: "unknown", transient: false, code: "deadline" });
  });

  test("reports the SDK's own timeout as unknown", async () => {
    const { call } = await answering(place, never);
    const seen = await call("any", {}, { timeout: 40 });
    expect(codeOf(seen)).toBe(timeoutCode);
    // To a wrapped transport the host's timeout is a cancellation like any other.
    const status = via === "wrapClient" ? "timeout" : "cancelled";
    expect(seen.report).toMatchObject({ ...UNANSWERED, status });
    expect(seen.outcome).toMatchObject({ execution: "unknown", transient: via === "wrapClient" });
  });

  test("reports the caller's abort mid-flight as cancelled, although the SDK calls it a timeout", async () => {
    const controller = new AbortController();
    const { call } = await answering(place, () => {
      controller.abort(new Error("no longer wanted"));
      return never();
    });
    const seen = await call("any", {}, { signal: controller.signal });
    expect(codeOf(seen)).toBe(timeoutCode);
    expect(seen.report).toMatchObject({ ...UNANSWERED, status: "cancelled", error: { code: "cancelled" } });
    expect(seen.outcome).toEqual({ status: "cancelled", execution: "unknown", transient: false, code: "cancelled" });
  });

  test("settles within 100 ms when the server closes mid-call", async () => {
    let closedAt = Number.NaN;
    const harness = await answering(place, () => {
      closedAt = runningNow();
      harness.serverTransport.close();
      return never();
    });
    const seen = await harness.call("any");
    expect(runningNow() - closedAt).toBeLessThan(100);
    expect(codeOf(seen)).toBe(closedCode);
    expect(seen.report).toMatchObject({ ...UNANSWERED, status: "unknown", error: { code: "transport_error" } });
    expect(seen.outcome).toMatchObject({ status: "failure", execution: "unknown", transient: true });
  });

  test("settles when the client itself closes mid-call", async () => {
    const harness = await answering(place, () => {
      harness.close();
      return never();
    });
    const seen = await harness.call("any");
    expect(codeOf(seen)).toBe(closedCode);
    expect(seen.report).toMatchObject({ ...UNANSWERED, status: "unknown" });
  });

  test("reports a throwing tool as executed", async () => {
    const { call } = await withTools(place);
    const seen = await call("throws");
    expect(seen.result?.isError).toBe(true);
    expect(seen.report).toMatchObject({
      ...EXECUTED,
      status: "failed",
      error: { code: "tool_error", message: "the tool failed" },
    });
    expect(seen.outcome).toMatchObject({
      status: "failure",
      execution: "executed",
      transient: false,
      code: "tool_error",
    });
  });

  test("counts refused arguments as executed: nothing on the wire tells them from a failure after the effect", async () => {
    const { call } = await withTools(place);
    const seen = await call("echo", { text: 7 });
    expect(seen.result?.isError).toBe(true);
    expect(seen.report).toMatchObject({ ...EXECUTED, status: "failed" });
    expect(seen.outcome).toMatchObject({ execution: "executed", transient: false });
  });

  test("counts an unknown tool as executed: an isError result in v1, -32602 in v2", async () => {
    const { call } = await withTools(place);
    const seen = await call("no-such-tool");
    if (line.name === "v1") expect(seen.result?.isError).toBe(true);
    else expect(codeOf(seen)).toBe(-32_602);
    expect(seen.report).toMatchObject({ ...EXECUTED, status: "failed" });
    expect(seen.outcome).toMatchObject({ status: "failure", execution: "executed", transient: false });
  });

  test("takes -32601 for proof that nothing ran", async () => {
    const { call } = await attachInMemory(line, via, line.lowLevelServer({}));
    const seen = await call("any");
    expect(codeOf(seen)).toBe(-32_601);
    expect(seen.report).toMatchObject({ execution: "not-executed", ack: true, attempts: 1, status: "failed" });
    expect(seen.outcome).toMatchObject({ execution: "not-executed", transient: false, code: "protocol_error" });
  });

  test("counts a result that fails the listed output schema as executed", async () => {
    const outputSchema = { type: "object", properties: { count: { type: "number" } }, required: ["count"] };
    const list = [{ name: "counts", inputSchema: { type: "object" }, outputSchema }];
    const wrong = { ...OK, structuredContent: { count: "many" } };
    const { call, client } = await answering(place, () => wrong, { list });
    await client.listTools();
    const seen = await call("counts");
    expect(codeOf(seen)).toBe(-32_602);
    // The host refuses the result by itself: a transport below it never hears of that.
    const status = via === "wrapClient" ? "failed" : "completed";
    expect(seen.report).toMatchObject({ ...EXECUTED, status });
    if (via === "wrapClient")
      expect(seen.outcome).toMatchObject({ execution: "executed", transient: false, code: "protocol_error" });
  });

  test("counts a result without the structured content that was promised as executed", async () => {
    const list = [{ name: "counts", inputSchema: { type: "object" }, outputSchema: { type: "object" } }];
    const { call, client } = await answering(place, () => OK, { list });
    await client.listTools();
    const seen = await call("counts");
    expect(codeOf(seen)).toBe(-32_600);
    expect(seen.report).toMatchObject({ ...EXECUTED, status: via === "wrapClient" ? "failed" : "completed" });
  });

  test("counts a result that the server itself finds invalid as executed", async () => {
    const { server, executions } = fixtureServer(place);
    const { call } = await attachInMemory(line, via, server);
    const seen = await call("bad-output");
    expect(executions).toHaveLength(1);
    expect(seen.report).toMatchObject({ ...EXECUTED, status: "failed" });
    expect(seen.outcome).toMatchObject({ status: "failure", execution: "executed", transient: false });
  });

  test("counts -32602 that a server answers after its handler ran as executed", async () => {
    const { call } = await answering(place, () => ({ content: "not a list" }));
    const seen = await call("any");
    expect(codeOf(seen)).toBe(-32_602);
    expect(seen.report).toMatchObject({ ...EXECUTED, status: "failed" });
    expect(seen.outcome).toMatchObject({ execution: "executed", transient: false, code: "protocol_error" });
  });

  test("counts a result that the client cannot parse as executed", async () => {
    const [near, far] = line.pair();
    await rawPeer(far, (_message, send) => send({ result: { content: "not a list" } }));
    const { call } = await attach(line, via, near);
    const seen = await call("any");
    expect(seen.error).toBeInstanceOf(Error);
    expect(seen.report).toMatchObject({ ...EXECUTED, status: via === "wrapClient" ? "failed" : "completed" });
  });

  test.each([-32_000, -32_001, -32_600, -32_603, -32_042, 429, -32_700])(
    "reads code %i on the wire as an executed failure, whatever the SDK means by it",
    async (code) => {
      const { call } = await failing(place, code);
      const seen = await call("any");
      expect(codeOf(seen)).toBe(code);
      expect(seen.report).toMatchObject({ ...EXECUTED, status: "failed", error: { code: "protocol_error" } });
      expect(seen.outcome).toMatchObject({
        status: "failure",
        execution: "executed",
        transient: false,
        code: "protocol_error",
      });
    },
  );

  test("drops an answer that comes after the timeout", async () => {
    const [near, far] = line.pair();
    let answerLate = (): void => undefined;
    const peer = await rawPeer(far, (_message, send) => {
      answerLate = () => send({ result: OK });
    });
    const { call } = await attach(line, via, near, { wrap: { attemptTimeoutMs: 30 } });
    const seen = await call("any");
    answerLate();
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(seen.report).toMatchObject({ ...UNANSWERED, status: "timeout" });
    expect(peer.received.some(({ method }) => method === "notifications/cancelled")).toBe(true);
  });

  test("lets a result that arrived count although the signal aborted right after", async () => {
    const controller = new AbortController();
    const [near, far] = line.pair();
    await rawPeer(far, (_message, send) => {
      send({ result: OK });
      controller.abort();
    });
    const { call } = await attach(line, via, near);
    const seen = await call("any", {}, { signal: controller.signal });
    if (via === "wrapClient") {
      expect(seen.result).toEqual(OK);
      expect(seen.report).toMatchObject({ ...EXECUTED, status: "completed" });
    }
    expect(seen.outcome).toMatchObject({ status: "success", execution: "executed" });
  });

  test("is not confused by a second answer", async () => {
    const [near, far] = line.pair();
    await rawPeer(far, (_message, send) => {
      send({ result: OK });
      send({ error: { code: -32_603, message: "again" } });
    });
    const { call } = await attach(line, via, near);
    expect((await call("any")).report).toMatchObject({ ...EXECUTED, status: "completed" });
    expect((await call("any")).report).toMatchObject({ ...EXECUTED, status: "completed" });
  });

  describe("what a tool handler throws", () => {
    test("counts as executed when its own fetch was refused", async () => {
      const handler = (): Promise<unknown> => fetch("http://127.0.0.1:9/");
      const { call } = await answering(place, handler);
      const seen = await call("any");
      expect(codeOf(seen)).toBe(-32_603);
      expect(seen.report).toMatchObject({ ...EXECUTED, status: "failed" });
      expect(seen.outcome).toMatchObject({ execution: "executed", transient: false });
    });

    test("counts as executed when it is another call's McpTxError", async () => {
      const nested = wrapTool("nested", never, [], { attemptTimeoutMs: 10 });
      const { call } = await answering(place, () => nested({}));
      const seen = await call("any");
      expect(seen.report).toMatchObject({ ...EXECUTED, status: "failed" });
      expect(seen.outcome).toMatchObject({ execution: "executed", transient: false, code: "protocol_error" });
    });

    test("counts as executed when an McpServer turns it into an isError result", async () => {
      const server = line.mcpServer();
      const nested = wrapTool("nested", never, [], { attemptTimeoutMs: 10 });
      server.registerTool("outer", {}, () => nested({}));
      const { call } = await attachInMemory(line, via, server);
      const seen = await call("outer");
      expect(seen.result?.isError).toBe(true);
      expect(seen.outcome).toMatchObject({ execution: "executed", transient: false, code: "tool_error" });
    });
  });

  describe("what the server says about trying again", () => {
    const policy = { version: "1", category: "rate_limit", retryable: true, retry: { afterMs: 700 } };
    const THROTTLED = {
      status: "throttled",
      execution: "executed",
      transient: true,
      code: "rate_limited",
      retryAfterMs: 700,
    };
    const carriers = [
      { what: "retryAfterMs", carrier: { retryAfterMs: 700 } },
      { what: "retryAfter in seconds", carrier: { retryAfter: 0.7 } },
      { what: "an error policy", carrier: { "dev.mcp-fuse/error-policy": policy } },
    ];

    test.each(carriers)("reads $what in an error's data", async ({ carrier }) => {
      const { call } = await failing(place, -32_029, carrier);
      const seen = await call("any");
      expect(seen.outcome).toEqual(THROTTLED);
      expect(seen.report).toMatchObject({
        ...EXECUTED,
        status: "failed",
        error: { code: "rate_limited", retryAfterMs: 700 },
      });
    });

    test.each(carriers)("reads $what in the _meta of an isError result", async ({ carrier }) => {
      const { call } = await answering(place, () => ({ ...OK, isError: true, _meta: carrier }));
      const seen = await call("any");
      expect(seen.outcome).toEqual(THROTTLED);
      expect(seen.report).toMatchObject({
        ...EXECUTED,
        status: "failed",
        error: { code: "rate_limited", retryAfterMs: 700 },
      });
    });

    test("leaves a success alone whatever its _meta says", async () => {
      const { call } = await answering(place, () => ({ ...OK, _meta: { "dev.mcp-fuse/error-policy": policy } }));
      expect((await call("any")).report).toMatchObject({ ...EXECUTED, status: "completed" });
    });

    test.each([-1, "soon", null, { seconds: 3 }])("ignores retryAfterMs %j", async (retryAfterMs) => {
      const { call } = await failing(place, -32_029, { retryAfterMs });
      expect((await call("any")).outcome).toMatchObject({
        status: "failure",
        execution: "executed",
        transient: false,
        code: "protocol_error",
      });
    });
  });

  describe("receipts", () => {
    const receipt = { requestId: "r", ack: true, duplicate: false };
    const cases = [
      {
        kind: "executed",
        receipt: { ...receipt, execution: "executed", code: "tool_error" },
        report: { execution: "executed", status: "failed", duplicate: false },
        outcome: { status: "failure", execution: "executed", transient: false, code: "tool_error" },
      },
      {
        kind: "not-executed",
        receipt: { ...receipt, execution: "not-executed", code: "rate_limited", retryAfterMs: 90 },
        report: { execution: "not-executed", status: "rejected", duplicate: false },
        outcome: {
          status: "throttled",
          execution: "not-executed",
          transient: true,
          code: "rate_limited",
          retryAfterMs: 90,
        },
      },
      {
        kind: "refused for good",
        receipt: { ...receipt, execution: "not-executed", code: "idempotency_conflict" },
        report: { execution: "not-executed", status: "rejected", duplicate: false },
        outcome: { status: "rejected", execution: "not-executed", transient: false, code: "idempotency_conflict" },
      },
      {
        kind: "unknown",
        receipt: { ...receipt, execution: "unknown", code: "outcome_unknown" },
        report: { execution: "unknown", duplicate: false },
        outcome: { status: "failure", execution: "unknown", transient: false, code: "outcome_unknown" },
      },
      {
        kind: "a replayed failure",
        receipt: { ...receipt, execution: "executed", duplicate: true, code: "tool_error" },
        report: { execution: "executed", status: "failed", duplicate: true },
        outcome: { status: "failure", execution: "executed", transient: false, code: "tool_error" },
      },
    ];

    test.each(cases)("are read from an error's data: $kind", async ({ receipt: sent, report, outcome }) => {
      const { call } = await failing(place, -31_001, { [RECEIPT_KEY]: sent });
      const seen = await call("any");
      expect(seen.outcome).toMatchObject(outcome);
      expect(seen.report).toMatchObject({ ...report, ack: true, attempts: 1 });
    });

    test.each(cases)(
      "are read from the _meta of an isError result: $kind",
      async ({ receipt: sent, report, outcome }) => {
        const { call } = await answering(place, () => ({ ...OK, isError: true, _meta: { [RECEIPT_KEY]: sent } }));
        const seen = await call("any");
        expect(seen.outcome).toMatchObject(outcome);
        expect(seen.report).toMatchObject({ ...report, ack: true, attempts: 1 });
      },
    );

    test("mark a replayed success as a duplicate", async () => {
      const sent = { ...receipt, execution: "executed", duplicate: true };
      const { call } = await answering(place, () => ({ ...OK, _meta: { [RECEIPT_KEY]: sent } }));
      expect((await call("any")).report).toMatchObject({ ...EXECUTED, duplicate: true, status: "completed" });
    });

    test("cannot turn a result that arrived into something that did not happen", async () => {
      const sent = { ...receipt, execution: "not-executed" };
      const { call } = await answering(place, () => ({ ...OK, _meta: { [RECEIPT_KEY]: sent } }));
      const seen = await call("any");
      expect(seen.report).toMatchObject({ ...EXECUTED, status: "completed" });
      expect(seen.outcome).toMatchObject({ status: "success", execution: "executed" });
    });

    test.each([
      null,
      "executed",
      7,
      [],
      ["not-executed"],
      {},
      { execution: "maybe" },
      { execution: ["not-executed"] },
      { execution: { toString: "not-executed" } },
      JSON.parse('{"__proto__":{"execution":"not-executed"}}'),
    ])("count as none when malformed: %j", async (sent) => {
      const { call } = await failing(place, -32_050, { [RECEIPT_KEY]: sent });
      const seen = await call("any");
      expect(seen.report).toMatchObject({ ...EXECUTED, status: "failed" });
      expect(seen.outcome).toMatchObject({
        status: "failure",
        execution: "executed",
        transient: false,
        code: "protocol_error",
      });
    });

    test("with unusable details keep their execution and lose the details", async () => {
      const sent = {
        requestId: 5,
        ack: "yes",
        duplicate: "yes",
        execution: "unknown",
        code: "made_up",
        retryAfterMs: -1,
      };
      const { call } = await failing(place, -31_001, { [RECEIPT_KEY]: sent });
      const seen = await call("any");
      expect(seen.report).toMatchObject({ execution: "unknown", duplicate: false });
      expect(seen.outcome?.code).toBe("protocol_error");
      expect(seen.outcome?.retryAfterMs).toBeUndefined();
    });
  });

  describe("user classifiers", () => {
    const busy = { content: [{ type: "text", text: JSON.stringify({ status: 429, wait: 40 }) }] };

    test("find a 429 inside a result", async () => {
      const { call } = await answering(place, () => busy, {
        wrap: {
          classifiers: [
            () => undefined,
            ({ result }) =>
              result !== undefined && textOf(result).includes("429")
                ? {
                    status: "throttled",
                    execution: "not-executed",
                    transient: true,
                    code: "rate_limited",
                    retryAfterMs: 40,
                  }
                : undefined,
            () => ({ status: "cancelled" }),
          ],
        },
      });
      const seen = await call("any");
      expect(seen.result).toEqual(busy);
      expect(seen.outcome).toMatchObject({ status: "throttled", execution: "not-executed", retryAfterMs: 40 });
      expect(seen.report).toMatchObject({ execution: "not-executed", status: "rejected", ack: true, attempts: 1 });
    });

    test("correct what an error means", async () => {
      const { call } = await answering(
        place,
        () => {
          throw Object.assign(new Error("locked"), { code: -32_055 });
        },
        {
          wrap: {
            classifiers: [
              ({ error }) =>
                (error as { code?: unknown } | undefined)?.code === -32_055 ? { transient: true } : undefined,
            ],
          },
        },
      );
      expect((await call("any")).outcome).toMatchObject({ status: "failure", execution: "executed", transient: true });
    });

    test("change nothing when they throw", async () => {
      const classifiers = [
        () => {
          throw new Error("broken classifier");
        },
      ];
      const { call } = await withTools(place, { wrap: { classifiers } });
      expect((await call("echo", { text: "x" })).report).toMatchObject({ ...EXECUTED, status: "completed" });
      expect((await call("throws")).outcome).toMatchObject({
        status: "failure",
        execution: "executed",
        code: "tool_error",
      });
    });
  });
});

describe.each(LINES)("$name wrapClient", (line) => {
  test("reports a call that was aborted before it began as cancelled and not executed", async () => {
    const place: Place = { line, via: "wrapClient", on: "" };
    let executions = 0;
    const { call } = await answering(place, () => {
      executions += 1;
      return OK;
    });
    const seen = await call("any", {}, { signal: AbortSignal.abort() });
    if (line.name === "v1") expect(seen.error).toMatchObject({ name: "AbortError" });
    else expect(codeOf(seen)).toBe("REQUEST_TIMEOUT");
    expect(executions).toBe(0);
    expect(seen.report).toMatchObject({ execution: "not-executed", ack: false, attempts: 0, status: "cancelled" });
    expect(seen.outcome).toEqual({
      status: "cancelled",
      execution: "not-executed",
      transient: false,
      code: "cancelled",
    });
  });

  test("reports a call after close as not executed", async () => {
    const place: Place = { line, via: "wrapClient", on: "" };
    const { call, close } = await answering(place, () => OK);
    await close();
    const seen = await call("any");
    expect((seen.error as Error).message).toBe("Not connected");
    expect(seen.report).toMatchObject({ execution: "not-executed", ack: false, attempts: 0, status: "failed" });
    expect(seen.outcome).toMatchObject({
      status: "failure",
      execution: "not-executed",
      transient: true,
      code: "transport_error",
    });
  });

  test("reports a call of a client that never connected as not executed", async () => {
    let report: unknown;
    const client = wrapClient(line.client(), [], { onReport: (given) => (report = given) });
    await expect(line.call(client, "any")).rejects.toThrow("Not connected");
    expect(report).toMatchObject({ execution: "not-executed", attempts: 0 });
  });

  test("works again after the client has connected to another transport", async () => {
    const client = line.client();
    const wrapped = wrapClient(client, []);
    for (const text of ["first", "second"]) {
      const [near, far] = line.pair();
      await line.lowLevelServer({ call: () => ({ content: [{ type: "text", text }] }) }).connect(far);
      await wrapped.connect(near);
      expect(await line.call(wrapped, "any")).toEqual({ content: [{ type: "text", text }] });
      await wrapped.close();
    }
  });
});
