// The newest Vercel AI SDK on a wrapped transport. Runs in a folder where check.mjs installed both.
import assert from "node:assert/strict";
import { createMCPClient } from "@ai-sdk/mcp";
import { circuitBreaker } from "@mcp-tx/circuit-breaker";
import { wrapFetch, wrapTransport } from "@mcp-tx/core";
import { idempotency } from "@mcp-tx/idempotency";
import { retry } from "@mcp-tx/retry";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { generateText, isStepCount } from "ai";
import { MockLanguageModelV4 } from "ai/test";
import { RUN_AND_502, RUN_AND_CUT, serveShop } from "./shop.mjs";

const usage = {
  inputTokens: { total: 1, noCache: 1, cacheRead: undefined, cacheWrite: undefined },
  outputTokens: { total: 1, text: 1, reasoning: undefined },
};

/** Lets a model pay; gives what it was told of the result. */
async function modelPays(tools, order) {
  const call = { type: "tool-call", toolCallId: "call-1", toolName: "pay", input: JSON.stringify({ order }) };
  const model = new MockLanguageModelV4({
    doGenerate: [
      { content: [call], finishReason: { unified: "tool-calls", raw: undefined }, usage, warnings: [] },
      {
        content: [{ type: "text", text: "done" }],
        finishReason: { unified: "stop", raw: undefined },
        usage,
        warnings: [],
      },
    ],
  });
  await generateText({ model, tools, prompt: "go", stopWhen: isStepCount(2) });
  const [{ output }] = model.doGenerateCalls[1].prompt.at(-1).content;
  return JSON.stringify(output);
}

async function open(middleware) {
  const shop = await serveShop();
  const reports = [];
  const http = new StreamableHTTPClientTransport(shop.url, { fetch: wrapFetch() });
  const transport = wrapTransport(http, middleware, { onReport: (report) => reports.push(report) });
  const client = await createMCPClient({ transport });
  const close = async () => {
    await client.close();
    shop.close();
  };
  return { shop, reports, tools: await client.tools(), close };
}

const CASES = [
  [
    "what was throttled is sent again, and a duplicate is answered from its record",
    async () => {
      const key = ({ args }) => args.order;
      const { shop, reports, tools, close } = await open([idempotency({ key }), retry({ baseDelayMs: 0 })]);
      shop.script.push(429, 429);
      assert.match(await modelPays(tools, "7"), /paid 7/);
      assert.match(await modelPays(tools, "7"), /paid 7/);
      assert.deepEqual([shop.payments, shop.posts()], [["7"], 3]);
      assert.deepEqual(
        reports.map(({ attempts, duplicate }) => [attempts, duplicate]),
        [
          [3, false],
          [0, true],
        ],
      );
      await close();
    },
  ],
  [
    "a lost answer is no reason to send again, and the model hears that nobody knows",
    async () => {
      const { shop, tools, close } = await open([retry({ baseDelayMs: 0 })]);
      shop.script.push(RUN_AND_CUT);
      assert.match(await modelPays(tools, "7"), /error-text.*unknown whether tool/);
      assert.deepEqual([shop.payments, shop.posts()], [["7"], 1]);
      await close();
    },
  ],
  [
    "an open circuit refuses without a word to the server",
    async () => {
      const { shop, tools, close } = await open([circuitBreaker({ consecutiveFailures: 1 })]);
      shop.script.push(503);
      await modelPays(tools, "7");
      assert.match(await modelPays(tools, "8"), /error-text.*was not called/);
      assert.deepEqual([shop.payments, shop.posts()], [[], 1]);
      await close();
    },
  ],
  [
    "its own maxRetries runs a tool again whose answer a gateway swallowed",
    async () => {
      const shop = await serveShop();
      const client = await createMCPClient({ transport: { type: "http", url: shop.url.href }, maxRetries: 1 });
      const tools = await client.tools();
      shop.script.push(RUN_AND_502);
      assert.match(await modelPays(tools, "7"), /paid 7/);
      assert.deepEqual(shop.payments, ["7", "7"]);
      await client.close();
      shop.close();
    },
  ],
];

for (const [name, run] of CASES) {
  await run();
  process.stdout.write(`AI SDK 7: ${name}\n`);
}
process.exit(0);
