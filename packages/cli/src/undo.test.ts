import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { CLAUDE_CODE, CURSOR, VSCODE } from "./host-configs.fixture.js";
import { runOn } from "./init.fixture.js";
import { init } from "./init.js";
import { type TestMachine, testMachine } from "./machine.fixture.js";
import { undo } from "./undo.js";

const FILE = "home/.cursor/mcp.json";

async function wrapped(text: string, path: string = FILE): Promise<TestMachine> {
  const machine = await testMachine();
  await machine.write(path, text);
  await runOn(init, machine);
  return machine;
}

test("a file that was edited since keeps the edit, and our entries are as before", async () => {
  const machine = await wrapped(CURSOR);
  const edit = (text: string): string => text.replace('\t"mcpServers"', '\t"theme": "dark",\n\t"mcpServers"');
  await machine.write(FILE, edit(await machine.read(FILE)));
  const { stdout, code } = await runOn(undo, machine);
  expect(code).toBe(0);
  expect(stdout).toContain("edited since it was wrapped: only our entries are changed");
  expect(await machine.read(FILE)).toBe(edit(CURSOR));
});

test("an entry that was edited since keeps the edit and loses the proxy", async () => {
  const machine = await wrapped(VSCODE, "project/.vscode/mcp.json");
  const edit = (text: string): string =>
    text
      .replace('"server-perplexity-ask",', '"server-perplexity-ask", "--fast",')
      .replace("search.example", "find.example");
  const path = "project/.vscode/mcp.json";
  await machine.write(path, edit(await machine.read(path)));
  expect((await runOn(undo, machine)).code).toBe(0);
  const unwrapped = await machine.read(path);
  expect(unwrapped).not.toContain("@mcp-tx/cli");
  expect(unwrapped).toContain(`"command": "npx", // not pnpx
      "args": [
        "-y", "server-perplexity-ask", "--fast",
      ],`);
  expect(unwrapped).toContain(`    "search": {
      "type": "http",
      "url": "https://find.example.com/mcp",
      // sent with every request
      "headers": { "Authorization": "Bearer \${input:perplexity-key}" }
    },`);
});

test("servers that were wrapped one after the other are undone together, byte for byte", async () => {
  const machine = await testMachine();
  await machine.write(FILE, CURSOR);
  await runOn(init, machine, { servers: ["local"] });
  await runOn(init, machine, { servers: ["remote"] });
  expect((await runOn(undo, machine)).stdout).toContain("restored, byte for byte");
  expect(await machine.read(FILE)).toBe(CURSOR);
});

test("undoes one server after the other, byte for byte", async () => {
  const machine = await wrapped(CURSOR);
  expect((await runOn(undo, machine, { servers: ["local"] })).stdout).toMatch(/mcp\.json\n {2}unwrapped local$/);
  const { mcpServers } = JSON.parse(await machine.read(FILE));
  expect(mcpServers.local.command).toBe("node");
  expect(mcpServers.remote.command).toBe("npx");
  await runOn(undo, machine, { servers: ["remote"] });
  expect(await machine.read(FILE)).toBe(CURSOR);
  expect(await readdir(join(machine.where.stateFolder, "undo"))).toEqual([]);
});

test("a server that is added later, and wrapped as well, is undone with the others", async () => {
  const machine = await wrapped(CURSOR);
  const add = (text: string): string =>
    text.replace('\t\t"remote"', '\t\t"late": { "command": "late" },\n\t\t"remote"');
  await machine.write(FILE, add(await machine.read(FILE)));
  expect((await runOn(init, machine)).stdout).toContain("wrapped late");
  await runOn(undo, machine);
  expect(await machine.read(FILE)).toBe(add(CURSOR));
});

test("a server that was wrapped by hand before init stays so", async () => {
  const text = '{"mcpServers":{"hand":{"command":"mcp-tx","args":["--","x"]},"other":{"command":"y"}}}';
  const machine = await wrapped(text);
  await machine.write(FILE, ` ${await machine.read(FILE)}`);
  await runOn(undo, machine);
  expect(await machine.read(FILE)).toBe(` ${text}`);
});

test("without a record, an entry is unwrapped by what it says, and that is said", async () => {
  const machine = await wrapped(CLAUDE_CODE, "home/.claude.json");
  const { stdout } = await runOn(undo, {
    ...machine,
    where: { ...machine.where, stateFolder: join(machine.root, "other") },
  });
  expect(stdout).toContain("nothing is remembered of how it was");
  expect(JSON.parse(await machine.read("home/.claude.json"))).toEqual(JSON.parse(CLAUDE_CODE));
});

test("variables that are no headers are not made into some: the entry is left, and the failure is told", async () => {
  const text = '{"mcpServers":{"a":{"url":"https://example.com","headers":{"X-Key":"k"}}}}';
  const machine = await wrapped(text);
  const edited = (await machine.read(FILE)).replace('"env":{', '"env":{"OTHER":"o",');
  await machine.write(FILE, edited);
  const { code, stderr } = await runOn(undo, machine);
  expect(code).toBe(1);
  expect(stderr).toContain("it cannot be told what a was before");
  expect(await machine.read(FILE)).toBe(edited);
});

test("a dry run tells what would be undone, and changes nothing", async () => {
  const machine = await wrapped(CURSOR);
  const before = await machine.read(FILE);
  const { stdout } = await runOn(undo, machine, { isDryRun: true });
  expect(stdout).toContain("(dry run)");
  expect(stdout).toContain('+\t"command": "node",');
  expect(await machine.read(FILE)).toBe(before);
  await runOn(undo, machine);
  expect(await machine.read(FILE)).toBe(CURSOR);
});

test("undoing twice changes nothing the second time", async () => {
  const machine = await wrapped(CURSOR);
  await runOn(undo, machine);
  expect(await runOn(undo, machine)).toMatchObject({ code: 0, stderr: "" });
  expect(await machine.read(FILE)).toBe(CURSOR);
});

test("a record of a change that was never made is dropped", async () => {
  const machine = await wrapped(CURSOR);
  // As if the process had ended between remembering and writing.
  await machine.write(FILE, CURSOR);
  expect((await runOn(undo, machine)).code).toBe(0);
  expect(await machine.read(FILE)).toBe(CURSOR);
  expect(await readdir(join(machine.where.stateFolder, "undo"))).toEqual([]);
});

test("a damaged record stops undo and init before anything is written", async () => {
  const machine = await wrapped(CURSOR);
  const folder = join(machine.where.stateFolder, "undo");
  const [record] = await readdir(folder);
  await writeFile(join(folder, String(record)), '{"version":1');
  const before = (await machine.read(FILE)).replace('"local"', '"again"');
  await machine.write(FILE, before.replace('"@mcp-tx/cli"', '"other"'));
  for (const work of [undo, init]) {
    const { code, stderr } = await runOn(work, machine);
    expect(code).toBe(1);
    expect(stderr).toContain("is damaged; move it away");
  }
  expect(await machine.read(FILE)).toBe(before.replace('"@mcp-tx/cli"', '"other"'));
});
