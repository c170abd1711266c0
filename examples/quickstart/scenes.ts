import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Caller, type CallOptions, type WrapOptions, wrapClient, wrapTool } from "@mcp-tx/core";
import { type RetryOptions, retry } from "@mcp-tx/retry";
import { z } from "zod";
import type { Line, Scene, Seen } from "./scene.js";
import type { ServerName } from "./servers.js";
import type { Stage } from "./stage.js";
import { ASK_AGAIN_MS, ATTEMPT_TIMEOUT_MS, COME_BACK_TOMORROW_MS } from "./timing.js";

/** Without jitter, so that the demo can say exactly how long is waited. */
const POLICY: RetryOptions = { maxAttempts: 3, baseDelayMs: 50, jitter: "none" };
const BOTH: readonly Line[] = ["SDK v1", "SDK v2"];

/** The pipeline of most scenes: a client of either SDK line behind `retry`. */
async function reliable(stage: Stage, server: ServerName, options?: WrapOptions): Promise<Caller> {
  const client = await stage.client(server);
  return wrapClient(client, [retry(POLICY)], { onEvent: stage.onEvent, ...options });
}

/** Calls a tool of the billing server for this scene's job. */
function bill(stage: Stage, client: Caller, tool: string, options?: CallOptions): Promise<Seen> {
  return stage.watch(`${tool}({ job })`, () => client.call(tool, { job: stage.job }, options));
}

const dropIn: readonly Scene[] = [
  {
    title: "A wrapped client is still the SDK's client (v1)",
    about: "callTool keeps its signature, its result type and its behaviour; options of ours ride beside the SDK's.",
    lines: ["SDK v1"],
    async play(stage) {
      const client = wrapClient(await stage.clientV1("everything"), [retry(POLICY)], { onEvent: stage.onEvent });
      const params = { name: "echo", arguments: { message: "hello" } };
      const seen = await stage.watch('callTool({ name: "echo", ... }, undefined, { timeoutMs: 10_000 })', () =>
        client.callTool(params, undefined, { timeoutMs: 10_000 }),
      );
      stage.expect(seen, {
        trail: ["success"],
        answer: "Echo: hello",
        report: { status: "completed", execution: "executed", attempts: 1, ack: true },
      });
    },
  },
  {
    title: "A wrapped client is still the SDK's client (v2)",
    about: "The same pipeline; SDK v2 has no result schema in second place.",
    lines: ["SDK v2"],
    async play(stage) {
      const client = wrapClient(await stage.clientV2("everything"), [retry(POLICY)], { onEvent: stage.onEvent });
      const params = { name: "echo", arguments: { message: "hello" } };
      const seen = await stage.watch('callTool({ name: "echo", ... }, { timeoutMs: 10_000 })', () =>
        client.callTool(params, { timeoutMs: 10_000 }),
      );
      stage.expect(seen, {
        trail: ["success"],
        answer: "Echo: hello",
        report: { status: "completed", execution: "executed", attempts: 1, ack: true },
      });
    },
  },
];

const referenceServers: readonly Scene[] = [
  {
    title: "invoke gives the value, validated and typed",
    about: "server-everything answers with structured content; a schema says what is in it.",
    lines: BOTH,
    async play(stage) {
      const client = await reliable(stage, "everything");
      const output = z.object({ temperature: z.number(), conditions: z.string() });
      const seen = await stage.watch("invoke get-structured-content", () =>
        client.invoke("get-structured-content", { location: "New York" }, { output }),
      );
      stage.expect(seen, {
        trail: ["success"],
        answer: '{"temperature":33,"conditions":"Cloudy"}',
        report: { status: "completed", execution: "executed", attempts: 1, ack: true },
      });
    },
  },
  {
    title: "An answer that says no is not asked for again",
    about: "isError means that the server ran the call: repeating it is for the model to decide, not for a retry.",
    lines: BOTH,
    async play(stage) {
      const client = await reliable(stage, "everything");
      const seen = await stage.watch('invoke get-sum({ a: "one" })', () => client.invoke("get-sum", { a: "one" }));
      stage.expect(seen, {
        trail: ["tool_error"],
        answer: "ToolError",
        report: { status: "failed", execution: "executed", attempts: 1, ack: true },
      });
    },
  },
  {
    title: "A deadline bounds the whole call",
    about: "timeoutMs covers all attempts and waits. The tool may go on, so nobody claims that it did not run.",
    lines: BOTH,
    async play(stage) {
      const client = await reliable(stage, "everything");
      const seen = await stage.watch("trigger-long-running-operation, timeoutMs 300", () =>
        client.call("trigger-long-running-operation", { duration: 1, steps: 1 }, { timeoutMs: 300 }),
      );
      stage.expect(seen, {
        trail: ["deadline"],
        answer: "OutcomeUnknownError",
        report: { status: "timeout", execution: "unknown", attempts: 1, ack: false },
        withinMs: 800,
      });
    },
  },
  {
    title: "Writing and reading files",
    about: "server-filesystem, untouched: a pipeline is invisible to a server that knows nothing of it.",
    lines: BOTH,
    async play(stage) {
      const client = await reliable(stage, "filesystem");
      const path = join(stage.servers.files, `note of ${stage.line}.txt`);
      const report = { status: "completed", execution: "executed", attempts: 1, ack: true } as const;
      const written = await stage.watch("write_file", () => client.call("write_file", { path, content: "42" }));
      stage.expect(written, { trail: ["success"], answer: `Successfully wrote to ${path}`, report });
      const read = await stage.watch("read_text_file", () => client.call("read_text_file", { path }));
      stage.expect(read, { trail: ["success"], answer: "42", report });
    },
  },
  {
    title: "retryOn: waiting for a file that is not there yet",
    about:
      "The tool ran and failed, which is repeated only on request: here the file appears before the third attempt.",
    lines: BOTH,
    async play(stage) {
      const path = join(stage.servers.files, `late for ${stage.line}.txt`);
      const client = await reliable(stage, "filesystem", {
        onEvent(name, detail) {
          stage.onEvent(name, detail);
          if (name === "retry.scheduled" && detail.attempt === 3) writeFileSync(path, "here now");
        },
      });
      const seen = await stage.watch("read_text_file, retryOn tool_error", () =>
        client.call("read_text_file", { path }, { retry: { retryOn: ({ code }) => code === "tool_error" } }),
      );
      stage.expect(seen, {
        trail: ["tool_error", 50, "tool_error", 100, "success"],
        answer: "here now",
        report: { status: "completed", execution: "executed", attempts: 3, ack: true },
      });
    },
  },
];

const timeouts: readonly Scene[] = [
  {
    title: "Slow once, tool of a trusted server: asked again",
    about:
      "The first answer is late. The tool is annotated read-only and the server is trusted, so the call is replayed.",
    lines: BOTH,
    async play(stage) {
      const client = await reliable(stage, "billing", { trustAnnotations: true, attemptTimeoutMs: ATTEMPT_TIMEOUT_MS });
      stage.expect(await bill(stage, client, "report"), {
        trail: ["attempt_timeout", 50, "success"],
        answer: "12 invoices",
        report: { status: "completed", execution: "executed", attempts: 2, ack: true },
        executions: 2,
      });
    },
  },
  {
    title: "Slow once, nobody trusts the server: not asked again",
    about: "Annotations are claims. Without trust the same tool could do anything twice, so the caller gets to decide.",
    lines: BOTH,
    async play(stage) {
      const client = await reliable(stage, "billing", { attemptTimeoutMs: ATTEMPT_TIMEOUT_MS });
      stage.expect(await bill(stage, client, "report"), {
        trail: ["attempt_timeout"],
        answer: "OutcomeUnknownError",
        report: { status: "timeout", execution: "unknown", attempts: 1, ack: false },
        executions: 1,
      });
    },
  },
  {
    title: "Answering late: the money moved, once",
    about: "The transfer is not repeated, and the answer that arrives after all is not mistaken for anything else.",
    lines: BOTH,
    async play(stage) {
      const client = await reliable(stage, "billing", { attemptTimeoutMs: ATTEMPT_TIMEOUT_MS });
      const hasArrived = await stage.lateAnswer("billing", "transferred");
      stage.expect(await bill(stage, client, "transfer"), {
        trail: ["attempt_timeout"],
        answer: "OutcomeUnknownError",
        report: { status: "timeout", execution: "unknown", attempts: 1, ack: false },
        executions: 1,
      });
      await stage.until(() => stage.servers.ledger.effects(stage.job) === 1 && hasArrived());
      stage.expect(await bill(stage, client, "order"), {
        trail: ["success"],
        answer: "ordered",
        report: { status: "completed", execution: "executed", attempts: 1, ack: true },
        executions: 2,
      });
    },
  },
];

const refusals: readonly Scene[] = [
  {
    title: "Too many requests: the server says when to come back",
    about: "The hint is data (_meta.retryAfterMs), not prose, and it wins over the backoff.",
    lines: BOTH,
    async play(stage) {
      const client = await reliable(stage, "billing");
      stage.expect(await bill(stage, client, "quote"), {
        trail: ["rate_limited", ASK_AGAIN_MS, "rate_limited", ASK_AGAIN_MS, "success"],
        answer: "99.50 EUR",
        report: { status: "completed", execution: "executed", attempts: 3, ack: true },
        executions: 3,
      });
    },
  },
  {
    title: "wrapServer: a refusal with a receipt",
    about: "The server refuses before its tool runs, and its receipt proves that: two attempts, one execution.",
    lines: BOTH,
    async play(stage) {
      const client = await reliable(stage, "billing --limited");
      stage.expect(await bill(stage, client, "order"), {
        trail: ["rate_limited", ASK_AGAIN_MS, "success"],
        answer: "ordered",
        report: { status: "completed", execution: "executed", attempts: 2, ack: true },
        executions: 1,
      });
    },
  },
  {
    title: "No time to wait: fails now and says when to come back",
    about: "The server asks for a day; the call has two seconds. Sleeping until the deadline would help nobody.",
    lines: BOTH,
    async play(stage) {
      const client = await reliable(stage, "billing --limited", { timeoutMs: 2000 });
      stage.expect(await bill(stage, client, "quote"), {
        trail: ["rate_limited"],
        answer: "RateLimitError",
        report: { status: "rejected", execution: "not-executed", attempts: 1, ack: true },
        retryAfterMs: COME_BACK_TOMORROW_MS,
        executions: 0,
        withinMs: 1000,
      });
    },
  },
  {
    title: "A tool that throws",
    about: "It ran, and may have done half of its work: one attempt.",
    lines: BOTH,
    async play(stage) {
      const client = await reliable(stage, "billing");
      stage.expect(await bill(stage, client, "refund"), {
        trail: ["tool_error"],
        answer: "Nothing to refund.",
        report: { status: "failed", execution: "executed", attempts: 1, ack: true },
        executions: 1,
      });
    },
  },
];

const deaths: readonly Scene[] = [
  {
    title: "The server dies mid-call",
    about:
      "The card is charged, the answer never leaves; another try could charge it twice. Later calls provably go nowhere.",
    lines: BOTH,
    async play(stage) {
      const client: Caller = wrapClient(await stage.ownClient("billing"), [retry(POLICY)], { onEvent: stage.onEvent });
      stage.expect(await bill(stage, client, "charge"), {
        trail: ["transport_error"],
        answer: "OutcomeUnknownError",
        report: { status: "unknown", execution: "unknown", attempts: 1, ack: false },
        executions: 1,
        withinMs: 1000,
      });
      stage.expect(await bill(stage, client, "order"), {
        trail: ["transport_error", 50, "transport_error", 100, "transport_error"],
        answer: "Error",
        report: { status: "failed", execution: "not-executed", attempts: 0, ack: false },
        executions: 1,
      });
    },
  },
  {
    title: "The server dies mid-call, and verify knows",
    about: "Whoever can find out whether it happened (an order list, a bank statement) turns unknown into an answer.",
    lines: BOTH,
    async play(stage) {
      const client: Caller = wrapClient(await stage.ownClient("billing"), [retry(POLICY)], {
        onEvent: stage.onEvent,
        verify: () =>
          stage.servers.ledger.effects(stage.job) > 0
            ? { execution: "executed", result: { content: [{ type: "text", text: "charged, says the bank" }] } }
            : { execution: "unknown" },
      });
      stage.expect(await bill(stage, client, "charge"), {
        trail: ["transport_error"],
        answer: "charged, says the bank",
        report: { status: "completed", execution: "executed", attempts: 1, ack: false },
        executions: 1,
      });
    },
  },
];

const callers: readonly Scene[] = [
  {
    title: "The caller gives up while the tool runs",
    about: "An abort is never repeated and never called a timeout; the request is out, so its outcome is unknown.",
    lines: BOTH,
    async play(stage) {
      const client = await reliable(stage, "billing", { trustAnnotations: true });
      const controller = new AbortController();
      const running = bill(stage, client, "report", { signal: controller.signal });
      await stage.until(() => stage.servers.ledger.executions(stage.job) === 1);
      controller.abort();
      stage.expect(await running, {
        trail: ["cancelled"],
        answer: stage.line === "SDK v1" ? "McpError" : "SdkError",
        report: { status: "cancelled", execution: "unknown", attempts: 1, ack: false },
        executions: 1,
      });
    },
  },
  {
    title: "The caller gives up during a wait",
    about: "Settles at once, with no further attempt: the two throttled answers that would follow are never asked for.",
    lines: BOTH,
    async play(stage) {
      const controller = new AbortController();
      const client = await reliable(stage, "billing", {
        onEvent(name, detail) {
          stage.onEvent(name, detail);
          if (name === "retry.scheduled") setTimeout(() => controller.abort(), ASK_AGAIN_MS / 4);
        },
      });
      stage.expect(await bill(stage, client, "quote", { signal: controller.signal }), {
        trail: ["rate_limited", ASK_AGAIN_MS],
        answer: "AbortError",
        report: { status: "cancelled", execution: "executed", attempts: 1, ack: true },
        executions: 1,
      });
    },
  },
  {
    title: "An option that nobody honours",
    about: "A key that is silently dropped would be a promise nobody keeps: a TypeError before anything is sent.",
    lines: BOTH,
    async play(stage) {
      const client = await reliable(stage, "billing");
      stage.expect(await bill(stage, client, "order", { idempotencyKey: "order-42" }), {
        trail: [],
        answer: "TypeError",
        report: undefined,
        executions: 0,
      });
    },
  },
  {
    title: "A local tool takes the same middleware",
    about:
      "wrapTool puts the pipeline round a plain function; what it throws is repeated only because retryOn says so.",
    lines: ["local"],
    async play(stage) {
      const { ledger } = stage.servers;
      function exchange({ euros }: { readonly euros: number }): { readonly dollars: number } {
        ledger.write(stage.job, "began");
        if (ledger.executions(stage.job) < 3) throw new Error("The rates are being updated.");
        return { dollars: euros * 1.25 };
      }
      const options = { onEvent: stage.onEvent };
      const convert = wrapTool("convert", exchange, [retry({ ...POLICY, retryOn: () => true })], options);
      const seen = await stage.watch("convert({ euros: 8 })", () => convert({ euros: 8 }));
      stage.expect(seen, {
        trail: ["tool_error", 50, "tool_error", 100, "success"],
        answer: '{"dollars":10}',
        report: { status: "completed", execution: "executed", attempts: 3, ack: true },
        executions: 3,
      });
    },
  },
];

export const scenes: readonly Scene[] = [
  ...dropIn,
  ...referenceServers,
  ...timeouts,
  ...refusals,
  ...deaths,
  ...callers,
];
