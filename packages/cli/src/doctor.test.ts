import { readdir } from "node:fs/promises";
import { expect, test } from "vitest";
import type { DoctorRequest } from "./command-line.js";
import { doctor } from "./doctor.js";
import { checkNode } from "./doctor-checks.js";
import { CLAUDE_CODE, CURSOR } from "./host-configs.fixture.js";
import { init } from "./init.js";
import { recordedOutput, type TestMachine, testMachine } from "./machine.fixture.js";

const ALL: DoctorRequest = { hosts: [], servers: [], files: [], isJson: false };

async function examined(machine: TestMachine, request: Partial<DoctorRequest> = {}) {
  const output = recordedOutput();
  const code = await doctor({ ...ALL, ...request }, machine.where, output);
  return { code, text: output.stdout.join("\n") };
}

async function machineWithCommands(...commands: readonly string[]): Promise<TestMachine> {
  const machine = await testMachine();
  for (const command of commands) await machine.write(`bin/${command}`, "", 0o755);
  return machine;
}

test("a machine without hosts is healthy, and nothing is left behind", async () => {
  const machine = await testMachine();
  const { code, text } = await examined(machine);
  expect(code).toBe(0);
  expect(text).toMatch(/ok {6}Node: v\d+/);
  expect(text).toMatch(/ok {6}store: (?:libsql|node:sqlite), in /);
  expect(text).toContain("no configuration of a known host was found");
  expect(await readdir(machine.where.stateFolder)).toEqual([]);
});

test("tells of each server whether it goes through the proxy", async () => {
  const machine = await machineWithCommands("node", "npx");
  await machine.write("home/.cursor/mcp.json", CURSOR);
  const before = await examined(machine);
  expect(before.text).toContain('ok      "mcpServers" > "local": does not go through the proxy');
  expect(before.text).toContain('"signed-in": does not go through the proxy: it may ask for a sign-in');
  await init({ ...ALL, isDryRun: false }, machine.where, recordedOutput());
  const after = await examined(machine);
  expect(after.code).toBe(0);
  expect(after.text).toContain('ok      "mcpServers" > "local": goes through the proxy');
});

test("a command that is not on the PATH is broken, also behind the proxy", async () => {
  const machine = await machineWithCommands("npx");
  await machine.write("home/.cursor/mcp.json", CURSOR);
  const missing = 'BROKEN  "mcpServers" > "local": the command "node" is not on the PATH';
  expect(await examined(machine)).toMatchObject({ code: 1, text: expect.stringContaining(missing) });
  await init({ ...ALL, isDryRun: false }, machine.where, recordedOutput());
  expect(await examined(machine)).toMatchObject({ code: 1, text: expect.stringContaining(missing) });
});

test("looks where the server's own PATH says", async () => {
  const machine = await testMachine();
  await machine.write("elsewhere/tool", "", 0o755);
  const env = { PATH: `${machine.root}/elsewhere` };
  await machine.write("home/.cursor/mcp.json", JSON.stringify({ mcpServers: { a: { command: "tool", env } } }));
  expect((await examined(machine)).code).toBe(0);
});

test("tells where a file cannot be read", async () => {
  const machine = await testMachine();
  await machine.write("home/.cursor/mcp.json", '{\n  "mcpServers": {,}\n}');
  const { code, text } = await examined(machine);
  expect(code).toBe(1);
  expect(text).toContain("BROKEN  file: line 2, column 18: value expected");
});

test("tells that a configuration of the proxy cannot be used", async () => {
  const machine = await testMachine();
  await machine.write("project/bad.json", '{"retry": {"maxAttempts": 0}}');
  const { code, text } = await examined(machine, { config: "bad.json" });
  expect(code).toBe(1);
  expect(text).toContain("BROKEN  configuration: --config:");
  expect(text).toContain("retry.maxAttempts must be an integer >= 1");
});

test("tells that the store cannot be opened", async () => {
  const machine = await testMachine();
  await machine.write("state", "a file in the place of the folder");
  const { code, text } = await examined(machine);
  expect(code).toBe(1);
  expect(text).toContain("BROKEN  store: ");
  expect(text).toContain("--store memory");
});

test("an entry that starts the proxy without a server is broken", async () => {
  const machine = await machineWithCommands("npx");
  const entry = { command: "npx", args: ["-y", "@mcp-tx/cli"] };
  await machine.write("home/.cursor/mcp.json", JSON.stringify({ mcpServers: { a: entry } }));
  const { code, text } = await examined(machine);
  expect(code).toBe(1);
  expect(text).toContain("starts the proxy without saying for which server");
});

test("tells the same as JSON", async () => {
  const machine = await machineWithCommands("npx");
  await machine.write("home/.cursor/mcp.json", CURSOR);
  const { code, text } = await examined(machine, { isJson: true });
  expect(code).toBe(1);
  const { healthy, sections } = JSON.parse(text);
  expect(healthy).toBe(false);
  expect(sections[1].checks[0]).toEqual({
    status: "broken",
    subject: '"mcpServers" > "local"',
    detail: 'the command "node" is not on the PATH',
    advice: expect.stringContaining("full path"),
  });
});

test("prints no secrets", async () => {
  const machine = await testMachine();
  await machine.write("home/.claude.json", CLAUDE_CODE);
  const { text } = await examined(machine);
  expect(text).not.toMatch(/ghp_secret|hunter2|secret-account/);
});

test.each([
  ["v20.18.3", "broken"],
  ["v18.20.0", "broken"],
  ["v20.19.0", "ok"],
  ["v22.0.0", "ok"],
  ["v24.1.0", "ok"],
])("Node %s is %s", (version, status) => {
  expect(checkNode(version).status).toBe(status);
});
