import { type CallReport, reportOf, type WrapOptions, wrapClient } from "@mcp-tx/core";
import { acceptedContent, inputRequired } from "@modelcontextprotocol/server";
import { serveStdio } from "@modelcontextprotocol/server/stdio";
import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { v2 } from "./fixtures/lines.js";

const schema = z.object({ confirm: z.boolean() });

/** A client whose user answers as `ask` does, and a tool that runs once it has the user's consent. */
async function deployment(ask: () => unknown, options: WrapOptions = {}) {
  const [near, far] = v2.pair();
  let deployed = 0;
  let rounds = 0;
  const build = (): unknown => {
    const server = v2.mcpServer();
    const deploy = (_args: unknown, ctx: { mcpReq: { inputResponses: never } }): unknown => {
      rounds += 1;
      if (acceptedContent(ctx.mcpReq.inputResponses, "confirm", schema)?.confirm === true) {
        deployed += 1;
        return { content: [] };
      }
      const confirm = inputRequired.elicit({ message: "Deploy?", requestedSchema: schema as never });
      return inputRequired({ inputRequests: { confirm } });
    };
    server.registerTool("deploy", { inputSchema: z.object({}) }, deploy as never);
    return server;
  };
  serveStdio(() => build() as never, { transport: far as never });
  const client = v2.client({ versionNegotiation: { mode: "auto" }, capabilities: { elicitation: {} } });
  (client as unknown as { setRequestHandler(method: string, handler: () => unknown): void }).setRequestHandler(
    "elicitation/create",
    ask,
  );
  await client.connect(near);
  onTestFinished(() => client.close());
  return { client: wrapClient(client, [], options), deployed: () => deployed, rounds: () => rounds };
}

const failure = async (call: Promise<unknown>): Promise<CallReport | undefined> =>
  call.then(
    () => undefined,
    (error: unknown) => reportOf(error),
  );

test("keeps the deadline while the user is asked", async () => {
  const { client } = await deployment(() => new Promise(() => undefined));
  const report = await failure(client.call("deploy", {}, { timeoutMs: 50 }));
  expect(report).toMatchObject({ status: "timeout", execution: "unknown", attempts: 1, error: { code: "deadline" } });
});

test("keeps the timeout of an attempt over all its rounds", async () => {
  let declined = 0;
  const { client } = await deployment(async () => {
    declined += 1;
    await new Promise((resolve) => setTimeout(resolve, 30));
    return { action: "accept", content: { confirm: false } };
  });
  const report = await failure(client.call("deploy", {}, { attemptTimeoutMs: 100 }));
  expect(report).toMatchObject({ status: "timeout", execution: "unknown", error: { code: "attempt_timeout" } });
  expect(declined).toBeLessThan(6);
});

test("settles when the caller aborts while the user is asked", async () => {
  const controller = new AbortController();
  const { client } = await deployment(() => {
    controller.abort(new Error("changed my mind"));
    return new Promise(() => undefined);
  });
  const report = await failure(client.call("deploy", {}, { signal: controller.signal }));
  expect(report).toMatchObject({ status: "cancelled", attempts: 1 });
});

test("sends nothing more once the call has ended", async () => {
  let answer: (value: unknown) => void = () => undefined;
  const { client, deployed, rounds } = await deployment(() => new Promise((resolve) => (answer = resolve)));
  await failure(client.call("deploy", {}, { timeoutMs: 50 }));
  answer({ action: "accept", content: { confirm: true } });
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(rounds()).toBe(1);
  expect(deployed()).toBe(0);
});

test("gives the answers the user gave in time to the tool", async () => {
  const { client, deployed } = await deployment(() => ({ action: "accept", content: { confirm: true } }));
  const result = await client.call("deploy", {}, { timeoutMs: 5000 });
  expect(reportOf(result)).toMatchObject({ status: "completed", execution: "executed", attempts: 1 });
  expect(deployed()).toBe(1);
});

test("keeps a limit that progress does not reset while the user is asked", async () => {
  const { client } = await deployment(() => new Promise(() => undefined));
  const options = { timeoutMs: 50, resetTimeoutOnProgress: true, onprogress: () => undefined };
  const report = await failure(client.callTool({ name: "deploy", arguments: {} }, options));
  expect(report).toMatchObject({ status: "timeout", execution: "unknown", attempts: 1 });
});
