import { expect, test } from "vitest";
import { runCli } from "./cli.js";
import { recordedOutput, testMachine } from "./machine.fixture.js";

test("a mistake is one line on stderr, and its exit code", async () => {
  const { where } = await testMachine();
  const output = recordedOutput();
  expect(await runCli(["--unheard-of"], where, output)).toBe(2);
  expect(output).toMatchObject({ stdout: [], stderr: ["mcp-tx: unknown option '--unheard-of'; --help tells more"] });
});

test("help is told on stdout", async () => {
  const { where } = await testMachine();
  const output = recordedOutput();
  expect(await runCli(["--help"], where, output)).toBe(0);
  expect(output.stdout.join("\n")).toContain("Usage: mcp-tx [options] -- <command> [args...]");
  expect(output.stderr).toEqual([]);
});

test("an error of the system is told without a stack", async () => {
  const { where, write } = await testMachine();
  await write("state/calls", "a file in the place of the folder");
  await write("project/x.json", "{}");
  const output = recordedOutput();
  expect(await runCli(["init", "--file", "missing.json"], where, output)).toBe(1);
  expect(output.stderr).toEqual([expect.stringMatching(/^mcp-tx: --file: \S*missing\.json does not exist$/)]);
});

test("a name in somebody's file cannot control the terminal", async () => {
  const { where, write } = await testMachine();
  const name = "\u001b[2J\u009b31m\u0007";
  await write("home/.cursor/mcp.json", JSON.stringify({ mcpServers: { [name]: { command: 1 } } }));
  const output = recordedOutput();
  expect(await runCli(["init"], where, output)).toBe(0);
  expect(output.stdout.join("")).toContain("?[2J?31m?");
});

test("does what it is asked for", async () => {
  const { where, write, read } = await testMachine();
  const original = '{"mcpServers":{"a":{"command":"x"}}}';
  const file = await write("any.json", original);
  for (const args of [["init"], ["doctor"], ["report"], ["init", "--undo"]]) {
    const output = recordedOutput();
    const selection = args[0] === "report" ? [] : ["--file", file];
    const code = await runCli([...args, ...selection], where, output);
    // Neither npx nor x is on this machine.
    expect(code).toBe(args[0] === "doctor" ? 1 : 0);
    expect(output.stdout.length).toBeGreaterThan(0);
  }
  expect(await read("any.json")).toBe(original);
});
