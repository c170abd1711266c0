import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type CallReport, reportOf, wrapClient } from "@mcp-tx/core";
import { idempotency } from "@mcp-tx/idempotency";
import { retry } from "@mcp-tx/retry";
import { StdioClientTransport as StdioClientTransportV2 } from "@modelcontextprotocol/client/stdio";
import { expect, onTestFinished, test, vi } from "vitest";
import { type Line, type SdkClient, type SdkTransport, v1, v2 } from "./fixtures/lines.js";
import { type Command, type ProxyOptions, proxied, started } from "./fixtures/proxy-links.js";

/** Hosts of both SDK lines and of all eras, aware of mcp-tx or plain, before servers that are aware or plain. */

vi.setConfig({ testTimeout: 120_000 });

interface Place {
  readonly on: string;
  readonly line: Line;
  readonly script: string;
  readonly client: Readonly<Record<string, unknown>>;
  readonly isAware: boolean;
}

const PLACES: readonly Place[] = [false, true].flatMap((isAware) => {
  const server = isAware ? "an aware server" : "a plain server";
  return [
    { on: `v1 to ${server}`, line: v1, script: "stdio-v1.mjs", client: {}, isAware },
    { on: `v2 to ${server}`, line: v2, script: "stdio-v2.mjs", client: {}, isAware },
    {
      on: `v2, 2026-07-28, to ${server}`,
      line: v2,
      script: "stdio-v2.mjs",
      client: { versionNegotiation: { mode: "auto" } },
      isAware,
    },
  ];
});

interface Scene {
  readonly client: SdkClient;
  /** The tools that the server ran, by its own log. */
  runs(): string[];
}

async function scene({ line, script, client: options, isAware }: Place, given: ProxyOptions = {}): Promise<Scene> {
  const folder = await mkdtemp(join(tmpdir(), "mcp-tx-aware-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const log = join(folder, "log");
  const env = { EXECUTION_LOG: log, ...(isAware && { WRAP_SERVER: "1" }) };
  const server: Command = {
    command: process.execPath,
    args: [fileURLToPath(new URL(`fixtures/${script}`, import.meta.url))],
    env,
  };
  const { command, args } = proxied(server, { database: join(folder, "store.db"), ...given });
  const transport =
    line === v1
      ? started({ command, args })
      : new StdioClientTransportV2({ command, args: [...args], stderr: "ignore" });
  const client = line.client(options);
  await client.connect(transport as unknown as SdkTransport);
  onTestFinished(() => client.close());
  return {
    client,
    runs: () =>
      existsSync(log)
        ? readFileSync(log, "utf8")
            .trim()
            .split("\n")
            .map((text) => (JSON.parse(text) as { tool: string }).tool)
        : [],
  };
}

test.each(PLACES)("$on: an aware host's key is honoured by the proxy's store", async (place) => {
  const { client, runs } = await scene(place);
  const reports: CallReport[] = [];
  const reliable = wrapClient(client, [], { onReport: (report) => reports.push(report) });
  // In the stateless era the store is known from the first answer that carries it.
  await reliable.listTools();
  for (const _ of [1, 2]) {
    const { content } = await reliable.call("echo", { text: "x" }, { idempotencyKey: "order-1" });
    expect(content).toEqual([{ type: "text", text: "x" }]);
  }
  expect(reports).toMatchObject([
    { duplicate: false, execution: "executed" },
    { duplicate: true, execution: "executed" },
  ]);
  expect(runs()).toEqual(["echo"]);
});

test.each(PLACES)("$on: an aware host learns that a call is lost, and does not send it again", async (place) => {
  const { client, runs } = await scene(place, { leaseMs: 500 });
  const reports: CallReport[] = [];
  const reliable = wrapClient(client, [idempotency(), retry({ baseDelayMs: 1 })], {
    onReport: (report) => reports.push(report),
  });
  await reliable.listTools();
  await expect(reliable.call("dies", {}, { idempotencyKey: "order-2" })).rejects.toThrow(/unknown/i);
  expect(reports).toMatchObject([{ execution: "unknown" }]);
  expect(new Set(runs())).toEqual(new Set(["dies"]));
  expect(runs().length).toBe(1);
  expect(reportOf(await reliable.call("echo", { text: "x" }))).toMatchObject({ status: "completed" });
});

test.each(PLACES)("$on: a plain host gets plain results", async (place) => {
  const { client, runs } = await scene(place, { retries: 3 });
  const result = await place.line.call(client, "echo", { text: "x" });
  expect(result).toMatchObject({ content: [{ type: "text", text: "x" }] });
  expect(JSON.stringify(result)).not.toContain("dev.mcp-tx");
  const lost = await place.line.call(client, "dies");
  expect(lost).toMatchObject({ isError: true });
  expect(JSON.stringify(lost)).toContain("unknown whether tool");
  expect((await place.line.call(client, "echo", { text: "y" })).content).toEqual([{ type: "text", text: "y" }]);
  expect(runs().filter((tool) => tool === "dies")).toHaveLength(1);
});
