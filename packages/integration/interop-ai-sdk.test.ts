import { createMCPClient } from "@ai-sdk/mcp";
import { type CallReport, wrapFetch, wrapTransport } from "@mcp-tx/core";
import { retry } from "@mcp-tx/retry";
import { generateText, stepCountIs, type ToolSet } from "ai";
import { expect, onTestFinished, test } from "vitest";
import { modelThatCalls, toldTo } from "./fixtures/hosts.js";
import { type Exchange, refuse, runAndCut } from "./fixtures/http-servers.js";
import { v1 } from "./fixtures/lines.js";
import { toolServer } from "./fixtures/tool-server.js";

/** What the Vercel AI SDK repeats by itself, and what is left of it on a wrapped transport. */

async function serve() {
  const { http, executions } = await toolServer();
  const posts = () => http.received.filter(({ method }) => method === "tools/call").length;
  return { http, executions, posts };
}

/** Lets a model call `echo`; gives what it was told. */
async function modelCalls(client: Awaited<ReturnType<typeof createMCPClient>>, text: string) {
  const model = modelThatCalls("echo", { text });
  const tools = (await client.tools()) as ToolSet;
  // For calls of the model, not of tools.
  await generateText({ model, tools, prompt: "go", stopWhen: stepCountIs(2), maxRetries: 2 });
  return toldTo(model);
}

/** The tool runs, and a gateway answers in place of its server. */
async function runAnd502({ response, pass }: Exchange): Promise<void> {
  const { writeHead, end } = response;
  const over = new Promise<void>((resolve) => {
    response.writeHead = () => response;
    response.flushHeaders = () => undefined;
    response.write = () => true;
    response.end = (() => {
      resolve();
      return response;
    }) as typeof end;
  });
  await pass();
  await over;
  Object.assign(response, { writeHead, end }).writeHead(502).end();
}

test("its maxRetries runs a tool again whose answer a gateway swallowed", async () => {
  const { http, executions } = await serve();
  const client = await createMCPClient({ transport: { type: "http", url: http.url }, maxRetries: 1 });
  onTestFinished(() => client.close());
  http.script.push(runAnd502);
  expect(await modelCalls(client, "twice")).toMatchObject({ text: "twice" });
  expect(executions).toHaveLength(2);
});

test("its maxRetries finds nothing to repeat on a wrapped transport", async () => {
  const { http, executions, posts } = await serve();
  const reports: CallReport[] = [];
  const transport = wrapTransport(v1.http(http.url, { fetch: wrapFetch() }), retry({ baseDelayMs: 0 }), {
    onReport: (report) => reports.push(report),
  });
  const client = await createMCPClient({ transport: transport as never, maxRetries: 2 });
  onTestFinished(() => client.close());
  for (const step of [runAnd502, runAndCut, refuse(500)]) {
    http.script.push(step);
    const { error } = await modelCalls(client, "once");
    expect((error as Error).message).toContain("unknown whether tool");
  }
  expect([executions.length, posts()]).toEqual([2, 3]);
  expect(reports.map(({ attempts }) => attempts)).toEqual([1, 1, 1]);
});
