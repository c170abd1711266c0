import assert from "node:assert/strict";
import { reportOf, wrapClient } from "@mcp-tx/core";
import { retry } from "@mcp-tx/retry";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { spendLimit } from "./spend-limit.js";

const client = new Client({ name: "custom-middleware", version: "1.0.0" });
const server = new URL(import.meta.resolve("@modelcontextprotocol/server-everything/package.json"));
const command = process.execPath;
await client.connect(
  new StdioClientTransport({ command, args: [new URL("dist/index.js", server).pathname], stderr: "ignore" }),
);

const limit = spendLimit({ max: 3 });
const reliable = wrapClient(client, [retry(), limit]);
try {
  const args = { message: "hello" };
  await reliable.call("echo", args);
  await reliable.call("echo", args, { spendLimit: { cost: 2 } });
  const refusal: unknown = await reliable.call("echo", args).catch((error: unknown) => error);
  console.log(refusal instanceof Error ? refusal.message : refusal);
  console.log(`spent ${limit.spent} of 3`);
  assert.equal(limit.spent, 3);
  assert.equal(reportOf(refusal)?.execution, "not-executed");
} finally {
  await reliable.close();
}
