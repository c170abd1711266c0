// What Mastra's MCP client does by itself, and what is left of it with mcp-tx. Runs in a folder where check.mjs installed both.
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { Agent } from "@mastra/core/agent";
import { MCPClient } from "@mastra/mcp";
import { circuitBreaker } from "@mcp-tx/circuit-breaker";
import { startProxy } from "@mcp-tx/cli";
import { idempotency, memoryStore } from "@mcp-tx/idempotency";
import { retry } from "@mcp-tx/retry";
import { MockLanguageModelV4 } from "ai/test";
import { paymentsIn, RUN_AND_CUT, serveShop } from "./shop.mjs";
// The snippets of the recipe, as check.mjs found them there.
import { withKeys } from "./with-keys.mjs";

// It logs what it does.
const quiet = { enableServerLogs: false };
const usage = { inputTokens: { total: 1, noCache: 1 }, outputTokens: { total: 1, text: 1 } };

/** A client of one server, and the tools it has there. */
async function connect(server) {
  const mcp = new MCPClient({ id: crypto.randomUUID(), servers: { shop: { ...server, ...quiet } } });
  return { tools: await mcp.listTools(), close: () => mcp.disconnect() };
}

const textOf = (result) => result.content[0].text;
const messageOf = (call) =>
  call.then(
    (result) => assert.fail(`it succeeded: ${JSON.stringify(result)}`),
    (error) => error.message,
  );

/** Lets an agent pay order 7; gives what its model was told. */
async function agentPays(tools) {
  const call = { type: "tool-call", toolCallId: "call-1", toolName: "shop_pay", input: '{"order":"7"}' };
  const model = new MockLanguageModelV4({
    doGenerate: [
      { content: [call], finishReason: { unified: "tool-calls" }, usage, warnings: [] },
      { content: [{ type: "text", text: "done" }], finishReason: { unified: "stop" }, usage, warnings: [] },
    ],
  });
  const agent = new Agent({ id: "payer", name: "payer", instructions: "Pay.", model, tools });
  await agent.generate("go");
  return JSON.stringify(model.doGenerateCalls[1].prompt.at(-1));
}

/** A proxy of ours before a server over HTTP, in this process. */
async function proxyOf(url, middleware) {
  const downstream = { kind: "http", port: 0, host: "127.0.0.1" };
  const proxy = await startProxy({ upstream: { url }, downstream, middleware, onDiagnostic: () => undefined });
  return { url: proxy.url, close: () => proxy.close() };
}

const store = memoryStore();
const recognition = () => idempotency({ store });

/** @type {readonly (readonly [string, () => Promise<void>])[]} */
const CASES = [
  [
    "alone, it sends a call again whose answer was lost, and the tool runs twice",
    async () => {
      const shop = await serveShop();
      const { tools, close } = await connect({ url: shop.url });
      shop.script.push(RUN_AND_CUT);
      assert.equal(textOf(await tools.shop_pay.execute({ order: "7" }, {})), "paid 7");
      assert.deepEqual(shop.payments, ["7", "7"]);
      shop.script.push(RUN_AND_CUT);
      assert.match(await agentPays(tools), /paid 7/);
      assert.deepEqual(shop.payments, ["7", "7", "7", "7"]);
      await close();
      shop.close();
    },
  ],
  [
    "alone, it starts a dead server again and sends the call again, and the tool runs twice",
    async () => {
      writeFileSync("alone.log", "");
      const args = ["shop.mjs", "stdio", "alone.log"];
      const { tools, close } = await connect({ command: process.execPath, args });
      assert.equal(textOf(await tools.shop_pay.execute({ order: "7" }, {})), "paid 7");
      assert.deepEqual(paymentsIn("alone.log"), ["7", "7"]);
      await close();
    },
  ],
  [
    "a server that recognises duplicates does not recognise calls without a key",
    async () => {
      const shop = await serveShop(recognition());
      const { tools, close } = await connect({ url: shop.url });
      shop.script.push(RUN_AND_CUT);
      await tools.shop_pay.execute({ order: "7" }, {});
      assert.deepEqual(shop.payments, ["7", "7"]);
      await close();
      shop.close();
    },
  ],
  [
    "with keys, such a server answers the second sending from its record",
    async () => {
      const shop = await serveShop(recognition());
      const { tools, close } = await connect({ url: shop.url });
      withKeys(tools);
      shop.script.push(RUN_AND_CUT);
      const result = await tools.shop_pay.execute({ order: "7" }, {});
      assert.equal(textOf(result), "paid 7");
      assert.equal(result._meta["dev.mcp-tx/receipt"].duplicate, true);
      assert.deepEqual([shop.payments, shop.posts()], [["7"], 2]);
      shop.script.push(RUN_AND_CUT);
      assert.match(await agentPays(tools), /paid 7/);
      // Another execution is another call.
      assert.deepEqual([shop.payments, shop.posts()], [["7", "7"], 4]);
      await close();
      shop.close();
    },
  ],
  [
    "behind the command-line proxy a server that dies is not asked twice, and the model hears that nobody knows",
    async () => {
      writeFileSync("server.log", "");
      const { tools, mcp } = await import("./proxied.mjs");
      assert.match(await messageOf(tools.shop_pay.execute({ order: "7" }, {})), /unknown whether tool "pay" ran/);
      assert.deepEqual(paymentsIn("server.log"), ["7"]);
      // The next call finds a new process.
      assert.equal(textOf(await tools.shop_pay.execute({ order: "8" }, {})), "paid 8");
      await mcp.disconnect();
    },
  ],
  [
    "when the proxy itself is killed, it sends the call to a new one, which knows it by its key, and only by that",
    async () => {
      writeFileSync("config.json", JSON.stringify({ idempotency: { leaseMs: 500 } }));
      const proxy = "node_modules/@mcp-tx/cli/dist/main.js";
      for (const hasKeys of [false, true]) {
        const file = `killed-${hasKeys}.log`;
        writeFileSync(file, "");
        const server = [process.execPath, "shop.mjs", "stdio", file, "parent"];
        const args = [proxy, "--quiet", "--config", "config.json", "--", ...server];
        const { tools, close } = await connect({ command: process.execPath, args });
        const pay = (hasKeys ? withKeys(tools) : tools).shop_pay.execute({ order: "7" }, {});
        if (hasKeys) assert.match(await messageOf(pay), /unknown whether tool "pay" ran/);
        else await pay;
        assert.deepEqual(paymentsIn(file), hasKeys ? ["7"] : ["7", "7"]);
        await close();
      }
    },
  ],
  [
    "behind a proxy over HTTP, a lost answer is no reason to send again, and the agent's model hears that nobody knows",
    async () => {
      const shop = await serveShop();
      const proxy = await proxyOf(shop.url, [retry({ baseDelayMs: 0 })]);
      const { tools, close } = await connect({ url: proxy.url });
      shop.script.push(RUN_AND_CUT);
      assert.match(await agentPays(tools), /unknown whether tool/);
      assert.deepEqual([shop.payments, shop.posts()], [["7"], 1]);
      await close();
      await proxy.close();
      shop.close();
    },
  ],
  [
    "behind a proxy, what was throttled is sent again, a duplicate is answered from its record, and an open circuit refuses",
    async () => {
      const shop = await serveShop();
      const breaker = circuitBreaker({ consecutiveFailures: 2 });
      const key = ({ args }) => args.order;
      const proxy = await proxyOf(shop.url, [idempotency({ key }), retry({ baseDelayMs: 0 }), breaker]);
      const { tools, close } = await connect({ url: proxy.url });
      const pay = (order) => tools.shop_pay.execute({ order }, {});
      shop.script.push(429);
      assert.equal(textOf(await pay("7")), "paid 7");
      assert.equal(textOf(await pay("7")), "paid 7");
      assert.deepEqual([shop.payments, shop.posts()], [["7"], 2]);
      shop.script.push(503, 503);
      assert.match(await messageOf(pay("8")), /unknown whether tool/);
      assert.match(await messageOf(pay("9")), /unknown whether tool/);
      assert.match(await messageOf(pay("10")), /Tool "pay" was not called/);
      assert.deepEqual([shop.payments, shop.posts()], [["7"], 4]);
      await close();
      await proxy.close();
      shop.close();
    },
  ],
];

for (const [name, run] of CASES) {
  await run();
  process.stdout.write(`Mastra: ${name}\n`);
}
process.exit(0);
