import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { Transport } from "@modelcontextprotocol/sdk/shared/transport.js";
import { expect, onTestFinished, test } from "vitest";
import {
  everything,
  everythingAsked,
  filesystem,
  memory,
  type Scenario,
  type Transcript,
  thinking,
  transcribe,
} from "./fixtures/proxy-features.js";
import {
  type Command,
  everythingOverHttp,
  overHttp,
  proxied,
  proxiedUrl,
  reference,
  servedProxy,
  started,
} from "./fixtures/proxy-links.js";

/** Through the proxy a host sees of a server what it sees without. */

const LIMIT_MS = 120_000;

/** A folder for one run: the runs must not see each other's files, nor their names. */
async function folder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "mcp-tx-proxy-"));
  onTestFinished(() => rm(path, { recursive: true, force: true }));
  return path;
}

type Way = (server: Command) => Promise<Transport>;

const bare: Way = async (server) => started(server);
const overStdio: Way = async (server) => started(proxied(server));
const overHttpToo: Way = async (server) => {
  const proxy = await servedProxy(server);
  onTestFinished(() => proxy.stop());
  return overHttp(proxy.url);
};

async function compared(run: (way: Way) => Promise<Transcript>): Promise<void> {
  const expected = await run(bare);
  for (const way of [overStdio, overHttpToo]) expect(await run(way)).toEqual(expected);
  expect(expected.lines.length).toBeGreaterThan(3);
}

function runOf(server: () => Command, scenario: Scenario): (way: Way) => Promise<Transcript> {
  return async (way) => transcribe(await way(server()), scenario);
}

test("server-everything is the same through the proxy", { timeout: LIMIT_MS }, async () => {
  await compared(runOf(() => reference("server-everything", ["stdio"]), everything));
});

test("server-everything over HTTP is the same through the proxy", { timeout: LIMIT_MS }, async () => {
  const server = await everythingOverHttp();
  onTestFinished(() => server.close());
  const url = new URL(server.url);
  const run = (transport: Transport): Promise<Transcript> => {
    // What the server asks by itself is lost before its host, or the proxy, listens.
    const listening = new Promise<void>((resolve) => {
      server.onGet = () => {
        resolve();
        return false;
      };
    });
    return transcribe(transport, async (host) => {
      await listening;
      await everythingAsked(host);
    });
  };
  const { lines } = await run(overHttp(url));
  expect((await run(started(proxiedUrl(url)))).lines).toEqual(lines);
  expect(lines.length).toBeGreaterThan(30);
});

test("server-filesystem is the same through the proxy", { timeout: LIMIT_MS }, async () => {
  await compared(async (way) => {
    const path = await folder();
    const transport = await way(reference("server-filesystem", [path]));
    const roots = [pathToFileURL(path).href];
    return transcribe(transport, filesystem(path), { roots, replacements: [[path, "<folder>"]] });
  });
});

test("server-memory is the same through the proxy", { timeout: LIMIT_MS }, async () => {
  await compared(async (way) => {
    const env = { MEMORY_FILE_PATH: join(await folder(), "memory.json") };
    return transcribe(await way(reference("server-memory", [], env)), memory);
  });
});

test("server-sequential-thinking is the same through the proxy", { timeout: LIMIT_MS }, async () => {
  await compared(runOf(() => reference("server-sequential-thinking"), thinking));
});
