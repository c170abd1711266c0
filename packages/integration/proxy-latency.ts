// What the proxy adds to a call over stdio, against the bare server in the same run: `tsx proxy-latency.ts`, after a build.
// Exits with 1 when the median it adds is above the target.
import { fileURLToPath } from "node:url";
import type { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { type Command, connected, proxied, started } from "./fixtures/proxy-links.js";

const ROUNDS = 9;
const CALLS = 200;
const WARM_UP = 500;
const TARGET_MS = 1;

const TALKER = fileURLToPath(new URL("fixtures/proxy-ledger.mjs", import.meta.url));
const server: Command = { command: process.execPath, args: [TALKER], env: { LEDGER: "" } };

async function callsOf(client: Client, count: number): Promise<number[]> {
  const durations: number[] = [];
  for (let call = 0; call < count; call += 1) {
    const begin = performance.now();
    await client.callTool({ name: "pid", arguments: {} });
    durations.push(performance.now() - begin);
  }
  return durations;
}

function median(values: readonly number[]): number {
  return [...values].sort((left, right) => left - right)[Math.floor(values.length / 2)] ?? Number.NaN;
}

const contenders = {
  bare: server,
  "proxy without middleware": proxied(server),
  "proxy with retry": proxied(server, { retries: 3 }),
};
const clients = await Promise.all(
  Object.entries(contenders).map(async ([name, command]) => ({
    name,
    client: await connected(started(command)),
    medians: [] as number[],
  })),
);
for (const { client } of clients) await callsOf(client, WARM_UP);
for (let round = 0; round < ROUNDS; round += 1) {
  // In another order each round, so that none has the better place.
  const order = [...clients.slice(round % clients.length), ...clients.slice(0, round % clients.length)];
  for (const { client, medians } of order) medians.push(median(await callsOf(client, CALLS)));
}
const bare = median(clients[0]?.medians ?? []);
for (const { name, client, medians } of clients) {
  const its = median(medians);
  const added = its - bare;
  process.stdout.write(`${name}: ${its.toFixed(3)} ms, adds ${added.toFixed(3)} ms, ${(its / bare).toFixed(2)}x\n`);
  if (added > TARGET_MS) process.exitCode = 1;
  await client.close();
}
