import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";

const main = fileURLToPath(new URL("../../examples/quickstart/main.ts", import.meta.url));
const selfCheck = fileURLToPath(new URL("../../examples/quickstart/self-check.ts", import.meta.url));
const tsx = pathToFileURL(createRequire(main).resolve("tsx")).href;
const ESCAPE = "\u001b";

/** Makes a pipe pass for a terminal, with Node's own rules about colour. */
const TERMINAL = `data:text/javascript,${encodeURIComponent(`
  import { WriteStream } from "node:tty";
  const { hasColors, getColorDepth } = WriteStream.prototype;
  Object.assign(process.stdout, { isTTY: true, hasColors, getColorDepth });
`)}`;

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "mcp-tx-demo-test-"));
});

afterEach(() => {
  rmSync(directory, { recursive: true, force: true });
});

interface Settings {
  readonly env?: Readonly<Record<string, string>>;
  readonly preload?: readonly string[];
}

/** Starts a script in a process group and with a temporary directory of its own. */
function start(script: string, args: readonly string[] = [], { env = {}, preload = [] }: Settings = {}) {
  // All that says something about colours; under CI Node takes a terminal to have none.
  const { NO_COLOR: _no, FORCE_COLOR: _force, NODE_DISABLE_COLORS: _disabled, CI: _ci, ...inherited } = process.env;
  const imports = [tsx, ...preload].flatMap((module) => ["--import", module]);
  const child = spawn(process.execPath, [...imports, script, ...args], {
    detached: true,
    env: { ...inherited, TMPDIR: directory, TEMP: directory, TMP: directory, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  function collect(text: string): void {
    output += text;
  }
  child.stdout.setEncoding("utf8").on("data", collect);
  child.stderr.setEncoding("utf8").on("data", collect);
  return { child, output: () => output };
}

async function run(
  ...parameters: Parameters<typeof start>
): Promise<{ readonly code: unknown; readonly output: string }> {
  const { child, output } = start(...parameters);
  const [code] = await once(child, "close");
  await expectNothingLeft(child);
  return { code, output: output() };
}

/** Commands of the processes in a group; those that have ended and only wait for their parent to notice are none. */
function processesOf(group: number | undefined): readonly string[] {
  const table = execFileSync("ps", ["-A", "-o", "pgid=,stat=,command="], { encoding: "utf8" });
  return table.split("\n").filter((row) => {
    const [pgid, state] = row.trim().split(/\s+/);
    return Number(pgid) === group && state?.startsWith("Z") === false;
  });
}

/** No process of the script's group is left, and none of its files. */
async function expectNothingLeft({ pid }: ChildProcess): Promise<void> {
  expect(pid).toBeGreaterThan(0);
  await expect.poll(() => processesOf(pid), { timeout: 2000 }).toEqual([]);
  expect(readdirSync(directory).filter((name) => name.startsWith("mcp-tx-"))).toEqual([]);
}

test("plays every scene as claimed, without colour in a pipe, and leaves nothing behind", {
  timeout: 60_000,
}, async () => {
  const { code, output } = await run(main);
  expect(output).toMatch(/All as expected: 20 scenes, 43 calls, 0 mismatches, [\d.]+ s\.\n$/);
  expect(output).toContain("attempt_timeout -> wait 50 ms -> success");
  expect(output).toContain(
    "throws OutcomeUnknownError | timeout, unknown, 1 attempt, never answered; counted 1 execution | ok",
  );
  expect(output).toContain("throws TypeError | refused before it began: no report; counted 0 executions | ok");
  expect(output).not.toContain("MISMATCH");
  expect(output).not.toContain(ESCAPE);
  expect(code).toBe(0);
});

test("leaves nothing behind when it is terminated", async () => {
  const { child, output } = start(main);
  await new Promise<void>((resolve) => child.stdout.on("data", () => output().includes("\n3. ") && resolve()));
  // The demo and its servers: else this test would see nothing.
  expect(processesOf(child.pid).length).toBeGreaterThan(2);
  child.kill("SIGTERM");
  const [code] = await once(child, "close");
  expect(code).toBe(143);
  await expectNothingLeft(child);
});

test("exits with 0 when everything is as claimed", async () => {
  const { code, output } = await run(selfCheck, ["right"]);
  expect(output).toContain("All as expected: 1 scenes, 1 calls, 0 mismatches");
  expect(code).toBe(0);
});

test("finds every claim that is wrong about a real call, plays on and exits with 1", async () => {
  const { code, output } = await run(selfCheck, ["wrong"]);
  const found = [...output.matchAll(/^ +! (\w+): expected .*, got /gm)].map(([, what]) => what);
  const claims = ["trail", "answer", "report", "status", "execution", "attempts", "ack", "retryAfterMs", "executions"];
  expect(found).toEqual([...claims, "elapsed", "duplicate", "waitedMs"]);
  expect(output).toContain("FAILED: 2 scenes, 13 calls, 12 mismatches");
  expect(code).toBe(1);
});

test("exits with 1 when a scene breaks off, and plays on", async () => {
  const { code, output } = await run(selfCheck, ["breaks-off"]);
  expect(output).toContain("the scene broke off: Error: no stage");
  expect(output).toContain("FAILED: 2 scenes, 1 calls, 1 mismatches");
  expect(code).toBe(1);
});

test.each(["silent", "empty"])("exits with 1 when nothing is claimed: %s", async (program) => {
  const { code, output } = await run(selfCheck, [program]);
  expect(output).toContain("FAILED");
  expect(code).toBe(1);
});

test("prints in colour on a terminal", async () => {
  const { output } = await run(selfCheck, ["wrong"], { env: { TERM: "xterm-256color" }, preload: [TERMINAL] });
  expect(output).toContain(`${ESCAPE}[31mMISMATCH`);
});

test("prints without colour on a terminal under NO_COLOR", async () => {
  const env = { TERM: "xterm-256color", NO_COLOR: "1" };
  const { output } = await run(selfCheck, ["wrong"], { env, preload: [TERMINAL] });
  expect(output).toContain("MISMATCH");
  expect(output).not.toContain(ESCAPE);
});
