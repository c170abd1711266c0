import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { type AttachSpec, attach, type Harness, PLACES, type Place } from "./fixtures/attach.js";
import { v2 } from "./fixtures/lines.js";
import { runningNow } from "./fixtures/running-clock.js";
import type { Execution } from "./fixtures/tools.mjs";

interface StdioHarness extends Harness {
  /** The runs of tools that the server noted, also when it is dead by now. */
  readonly executions: () => Execution[];
  /** Kills the server; when this process heard that it was dead, on `runningNow`. */
  readonly kill: () => Promise<number>;
}

async function spawnServer({ line, via }: Place, spec?: AttachSpec): Promise<StdioHarness> {
  const folder = mkdtempSync(join(tmpdir(), "mcp-tx-"));
  const log = join(folder, "executions");
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const transport = line.stdio({ EXECUTION_LOG: log });
  const harness = await attach(line, via, transport, spec);
  return {
    ...harness,
    executions: () =>
      readFileSync(log, "utf8")
        .trim()
        .split("\n")
        .map((entry) => JSON.parse(entry)),
    kill: () => {
      // Private in both SDKs, but nothing else tells.
      const child = (transport as unknown as { readonly _process: ChildProcess })._process;
      const died = once(child, "exit").then(runningNow);
      child.kill("SIGKILL");
      return died;
    },
  };
}

const UNKNOWN = { execution: "unknown", ack: false, attempts: 1, duplicate: false } as const;
const LOST = { status: "failure", execution: "unknown", transient: true, code: "transport_error" } as const;

/** Waits for the server to begin a run. */
async function running(server: StdioHarness): Promise<void> {
  for (;;) {
    try {
      if (server.executions().length > 0) return;
    } catch {
      // Nothing noted yet.
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

const MODERN = { client: { versionNegotiation: { mode: "auto" } } };
const CASES = [
  ...PLACES.map((place) => ({ ...place, spec: undefined as AttachSpec | undefined })),
  ...PLACES.filter(({ line }) => line === v2).map((place) => ({
    ...place,
    on: `${place.on}, 2026-07-28`,
    spec: MODERN,
  })),
];

describe.each(CASES)("over stdio, $on", (place) => {
  test("settles within 100 ms of a SIGKILL in the middle of a call, and later calls are known not to run", async () => {
    const server = await spawnServer(place, place.spec);
    const pending = server.call("slow", { ms: 20_000 });
    await running(server);
    const died = server.kill();
    const seen = await pending;
    expect(runningNow() - (await died)).toBeLessThan(100);
    expect(server.executions()).toEqual([{ tool: "slow", args: { ms: 20_000 } }]);
    expect(seen.report).toMatchObject({ ...UNKNOWN, status: "unknown", error: { code: "transport_error" } });
    expect(seen.outcome).toMatchObject(LOST);

    if (place.via === "wrapTransport") return;
    const later = await server.call("echo", { text: "x" });
    expect(later.report).toMatchObject({ execution: "not-executed", attempts: 0, ack: false });
    expect(later.outcome).toMatchObject({ execution: "not-executed", transient: true, code: "transport_error" });
  });

  test("goes on after a timeout and an abort whose answers come late, until the server dies by itself", async () => {
    const server = await spawnServer(place, place.spec);
    // The first call of a fresh process is slow: it compiles the schemas.
    await server.call("echo", { text: "warm" });
    const late = await server.call("slow", { ms: 500 }, { timeout: 80 });
    const isHosts = place.via === "wrapTransport";
    expect(late.report).toMatchObject({ ...UNKNOWN, status: isHosts ? "cancelled" : "timeout" });
    await server.call("watchful", {}, { timeout: 80 });
    const controller = new AbortController();
    setTimeout(() => controller.abort(), 30);
    const aborted = await server.call("slow", { ms: 500 }, { signal: controller.signal });
    expect(aborted.report).toMatchObject({ ...UNKNOWN, status: "cancelled", error: { code: "cancelled" } });
    await new Promise((resolve) => setTimeout(resolve, 600));
    const echoed = await server.call("echo", { text: "still here" });
    expect(echoed.result).toMatchObject({ content: [{ type: "text", text: "still here" }] });
    expect(server.executions().map(({ tool }) => tool)).toEqual(["echo", "slow", "watchful", "slow", "echo"]);
    expect((await server.call("throws")).report).toMatchObject({
      execution: "executed",
      ack: true,
      attempts: 1,
      status: "failed",
    });
    const dead = await server.call("dies");
    expect(dead.elapsedMs).toBeLessThan(1000);
    expect(dead.report).toMatchObject({ ...UNKNOWN, status: "unknown" });
    expect(dead.outcome).toMatchObject(LOST);
  });
});
