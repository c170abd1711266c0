import { chmod, lstat, readdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { CLAUDE_CODE, CLAUDE_DESKTOP, CURSOR, VSCODE } from "./host-configs.fixture.js";
import { runOn } from "./init.fixture.js";
import { init, launcherOf, reasonToSkip } from "./init.js";
import { testMachine } from "./machine.fixture.js";
import { unwrapServers, wrapServers } from "./rewrite.js";
import { serverEntries } from "./server-entry.js";
import { undo } from "./undo.js";

/** Where each host has its file on Linux, and what is in it. */
const HOST_FILES = [
  { host: "Claude Desktop", path: "home/.config/Claude/claude_desktop_config.json", text: CLAUDE_DESKTOP },
  { host: "Claude Code", path: "home/.claude.json", text: CLAUDE_CODE },
  { host: "a Claude Code project", path: "project/.mcp.json", text: CLAUDE_DESKTOP },
  { host: "Cursor", path: "home/.cursor/mcp.json", text: CURSOR },
  { host: "a Cursor project", path: "project/.cursor/mcp.json", text: CURSOR },
  { host: "VS Code", path: "home/.config/Code/User/mcp.json", text: VSCODE },
  { host: "a VS Code workspace", path: "project/.vscode/mcp.json", text: VSCODE },
];

/** The same configuration, as other editors save it. */
const VARIANTS: readonly (readonly [name: string, vary: (text: string) => string])[] = [
  ["as it is", (text) => text],
  ["with CRLF", (text) => text.replaceAll("\n", "\r\n")],
  ["with a byte order mark", (text) => `\u{FEFF}${text}`],
  ["without a line end at the end", (text) => text.trimEnd()],
  ["with tabs", (text) => text.replaceAll(/^ +/gm, (spaces) => "\t".repeat(spaces.length / 2))],
];

describe.each(HOST_FILES)("the configuration of $host", ({ path, text }) => {
  test.each(VARIANTS)("is byte for byte as before after init, init and undo, %s", async (_name, vary) => {
    const machine = await testMachine();
    const original = vary(text);
    await machine.write(path, original);

    expect(await runOn(init, machine)).toMatchObject({ code: 0, stderr: "" });
    const wrapped = await machine.read(path);
    expect(wrapped).toContain("@mcp-tx/cli");
    expect(await runOn(init, machine)).toMatchObject({ code: 0, stderr: "" });
    expect(await machine.read(path)).toBe(wrapped);

    expect(await runOn(undo, machine)).toMatchObject({ code: 0, stderr: "" });
    expect(await machine.read(path)).toBe(original);
  });
});

test("wraps commands with their arguments as they are, on lines like theirs", async () => {
  const machine = await testMachine();
  await machine.write("home/.config/Claude/claude_desktop_config.json", CLAUDE_DESKTOP);
  await runOn(init, machine);
  expect(await machine.read("home/.config/Claude/claude_desktop_config.json")).toBe(`{
  "mcpServers": {
    "filesystem": {
      "command": "npx",
      "args": [
        "-y",
        "@mcp-tx/cli",
        "--name",
        "filesystem",
        "--",
        "npx",
        "-y",
        "@modelcontextprotocol/server-filesystem",
        "/Volumes/me/Desktop",
        "/Volumes/me/a folder with \\"quotes\\" and \\\\ backslashes"
      ]
    },
    "weather": {
      "command": "npx",
      "args": ["-y", "@mcp-tx/cli", "--name", "weather", "--", "uv", "--directory", "/absolute/path", "run", "weather.py"],
      "env": {
        "API_KEY": "sk-weather-secret"
      }
    },
    "bare": { "command": "npx", "args": ["-y", "@mcp-tx/cli", "--name", "bare", "--", "my-server"] }
  },
  "globalShortcut": "",
  "isUsingBuiltInNodeForMcp": true
}
`);
});

test("keeps comments, placeholders and unknown keys, and moves the values of headers into the environment", async () => {
  const machine = await testMachine();
  await machine.write("project/.vscode/mcp.json", VSCODE);
  await runOn(init, machine);
  const wrapped = await machine.read("project/.vscode/mcp.json");
  expect(wrapped).toContain(`    "perplexity": {
      "type": "stdio",
      "command": "npx", // not pnpx
      "args": [
        "-y",
        "@mcp-tx/cli",
        "--name",
        "perplexity",
        "--",
        "npx",
        // the package
        "-y", "server-perplexity-ask",
      ],
      "env": {
        "PERPLEXITY_API_KEY": "\${input:perplexity-key}"
      },
      "dev": { "watch": "build/**/*.js" },
    },`);
  expect(wrapped).toContain(`    "search": {
      "type": "stdio",
      "command": "npx",
      "args": ["-y", "@mcp-tx/cli", "--name", "search", "--url", "https://search.example.com/mcp", "--header-env", "Authorization=UPSTREAM_HEADER_AUTHORIZATION"],
      // sent with every request
      "env": { "UPSTREAM_HEADER_AUTHORIZATION": "Bearer \${input:perplexity-key}" }
    },`);
  expect(wrapped).toContain('"old": { "type": "sse", "url": "https://old.example.com/sse" }');
});

test("wraps the servers of every project of Claude Code", async () => {
  const machine = await testMachine();
  await machine.write("home/.claude.json", CLAUDE_CODE);
  const { stdout } = await runOn(init, machine);
  expect(stdout).toContain("wrapped github");
  const { projects } = JSON.parse(await machine.read("home/.claude.json"));
  expect(projects["/Volumes/me/work"].mcpServers.db.args.slice(0, 6)).toEqual([
    "-y",
    "@mcp-tx/cli",
    "--name",
    "db",
    "--",
    "docker",
  ]);
});

test("leaves a server alone that may ask for a sign-in, unless it is asked for by name", async () => {
  const machine = await testMachine();
  await machine.write("home/.cursor/mcp.json", CURSOR);
  const first = await runOn(init, machine);
  expect(first.stdout).toContain("left alone signed-in: it may ask for a sign-in");
  const second = await runOn(init, machine, { servers: ["signed-in"] });
  expect(second.stdout).toContain("wrapped signed-in");
});

test("on Windows Claude Code starts npx through the command processor, unless that would change the arguments", async () => {
  const { where } = await testMachine("win32");
  const shape = { serversKey: "mcpServers" } as const;
  const servers = { a: { command: "node", args: ["s.js"] }, b: { command: "node", args: ["100%", "a&b"] } };
  const original = JSON.stringify({ mcpServers: servers });
  const by = launcherOf(where, { host: "claude-code", title: "", path: "", shape });
  expect(launcherOf(where, { host: "cursor", title: "", path: "", shape }).command).toBe("npx");
  const [a, b] = serverEntries(original, shape);
  if (a === undefined || b === undefined) throw new Error("two servers are there");
  expect(reasonToSkip(a, by, false)).toBeUndefined();
  expect(reasonToSkip(b, by, true)).toContain("the command processor of Windows");
  const { text } = wrapServers(original, shape, ({ name }) => name === "a", by);
  expect(JSON.parse(text).mcpServers.a).toEqual({
    command: "cmd",
    args: ["/c", "npx", "-y", "@mcp-tx/cli", "--name", "a", "--", "node", "s.js"],
  });
  expect(JSON.parse(unwrapServers(text, shape, undefined, () => true).text)).toEqual(JSON.parse(original));
});

test("tells that a host which needs full paths may need one of npx", async () => {
  const machine = await testMachine();
  await machine.write(
    "home/.cursor/mcp.json",
    '{"mcpServers":{"a":{"command":"/opt/node/bin/node"},"b":{"command":"node"}}}',
  );
  const { stdout } = await runOn(init, machine);
  expect(stdout).toContain("note: a was started by a full path");
  expect(stdout).not.toContain("note: b");
});

test("changes only the hosts and servers that are asked for", async () => {
  const machine = await testMachine();
  await machine.write("home/.cursor/mcp.json", CURSOR);
  await machine.write("home/.claude.json", CLAUDE_CODE);
  await runOn(init, machine, { hosts: ["cursor"], servers: ["local"] });
  expect(await machine.read("home/.claude.json")).toBe(CLAUDE_CODE);
  const { mcpServers } = JSON.parse(await machine.read("home/.cursor/mcp.json"));
  expect(mcpServers.local.command).toBe("npx");
  expect(mcpServers.remote).toEqual({ url: "http://localhost:3000/mcp" });
});

test("a name that no server has is an error that lists those there are", async () => {
  const machine = await testMachine();
  await machine.write("home/.cursor/mcp.json", CURSOR);
  await expect(runOn(init, machine, { servers: ["nope"] })).rejects.toThrow(
    "--server: no server is called nope; there are local, remote, signed-in",
  );
});

test("a machine without hosts is an error that says what to do", async () => {
  await expect(runOn(init, await testMachine())).rejects.toThrow("name one with --file <path>");
});

test("takes a file that is named, whichever key its servers are under", async () => {
  const machine = await testMachine();
  const file = await machine.write("elsewhere/any.json", '{"servers":{"a":{"command":"x"}}}');
  await runOn(init, machine, { files: [file] });
  expect(await machine.read("elsewhere/any.json")).toBe(
    '{"servers":{"a":{"command":"npx","args":["-y","@mcp-tx/cli","--name","a","--","x"]}}}',
  );
});

test.each([
  ["an empty file", ""],
  ["a file of white space", " \n"],
  ["no servers", "{}"],
  ["an empty object of servers", '{"mcpServers": {}}'],
  ["servers that are null", '{"mcpServers": null}'],
])("%s is left as it is", async (_name, text) => {
  const machine = await testMachine();
  await machine.write("home/.cursor/mcp.json", text);
  expect(await runOn(init, machine)).toMatchObject({ code: 0, stderr: "" });
  expect(await machine.read("home/.cursor/mcp.json")).toBe(text);
  expect(await runOn(undo, machine)).toMatchObject({ code: 0, stderr: "" });
});

test.each([
  [
    "a missing comma",
    '{\n  "mcpServers": {\n    "a": { "command": "x" "args": [] }\n  }\n}',
    "line 3, column 27: comma expected",
  ],
  ["a cut file", '{"mcpServers": {"a": {"command": "x"', "line 1"],
  ["text after the end", '{"mcpServers": {}} x', "line 1"],
  ["an array", "[]", "the file holds no object"],
  ["servers that are no object", '{"mcpServers": []}', '"mcpServers" is no object'],
  ["the servers twice", '{"mcpServers": {}, "mcpServers": {}}', 'the key "mcpServers" is there twice'],
  ["a server twice", '{"mcpServers": {"a": {"command": "x"}, "a": {"command": "y"}}}', 'the key "a" is there twice'],
  ["brackets without end", "[".repeat(200_000), "line 1"],
])("%s is refused with its place, and nothing is touched", async (_name, text, message) => {
  const machine = await testMachine();
  await machine.write("home/.cursor/mcp.json", text);
  const { code, stderr } = await runOn(init, machine);
  expect(code).toBe(1);
  expect(stderr).toContain(message);
  expect(stderr).toContain("mcp.json");
  expect(await machine.read("home/.cursor/mcp.json")).toBe(text);
});

test("a project that is there twice is refused, and nothing is touched", async () => {
  const machine = await testMachine();
  const text = '{"projects": {"/p": {}, "/p": {"mcpServers": {"a": {"command": "x"}}}}}';
  await machine.write("home/.claude.json", text);
  const { code, stderr } = await runOn(init, machine);
  expect(code).toBe(1);
  expect(stderr).toContain('line 1, column 25: the key "/p" is there twice');
  expect(await machine.read("home/.claude.json")).toBe(text);
});

test("a file that cannot be read does not keep the others from being wrapped", async () => {
  const machine = await testMachine();
  await machine.write("home/.cursor/mcp.json", "{");
  await machine.write("home/.claude.json", CLAUDE_CODE);
  expect((await runOn(init, machine)).code).toBe(1);
  expect(await machine.read("home/.claude.json")).toContain("@mcp-tx/cli");
});

test("a file that is no UTF-8 is refused untouched", async () => {
  const machine = await testMachine();
  const path = await machine.write("home/.cursor/mcp.json", "");
  const bytes = Buffer.from('{"mcpServers":{}}', "utf16le");
  bytes[0] = 0xff;
  await writeFile(path, bytes);
  const { code, stderr } = await runOn(init, machine);
  expect(code).toBe(1);
  expect(stderr).toContain("is not UTF-8");
  expect(await readFile(path)).toEqual(bytes);
});

test.each([
  ["args that are a text", { command: "x", args: "a b" }, "its args are no list of strings"],
  ["args with a number", { command: "x", args: [1] }, "its args are no list of strings"],
  ["neither command nor url", { env: {} }, "it has neither a command nor a url"],
  ["a command that is no text", { command: 1 }, "its command is no text"],
  ["a web socket", { type: "ws", url: "wss://example.com" }, 'its type is "ws"'],
  ["credentials in the url", { url: "https://a:b@example.com/" }, "its url holds a user name or password"],
  ["headers that are no texts", { url: "https://example.com", headers: { a: 1 } }, "one of its headers is no string"],
  ["args beside a url", { url: "http://localhost:1/mcp", args: [] }, "it has both a url and args"],
  ["headers and env", { url: "https://example.com", headers: {}, env: {} }, "it has both headers and env"],
  ["a text", "x", "it is no object"],
])("an entry with %s is left alone, with the reason", async (_name, entry, reason) => {
  const machine = await testMachine();
  const text = JSON.stringify({ mcpServers: { odd: entry, good: { command: "x" } } });
  await machine.write("home/.cursor/mcp.json", text);
  const { stdout, code } = await runOn(init, machine);
  expect(code).toBe(0);
  expect(stdout).toContain(`left alone odd: ${reason}`);
  const { mcpServers } = JSON.parse(await machine.read("home/.cursor/mcp.json"));
  expect(mcpServers.odd).toEqual(entry);
  expect(mcpServers.good.command).toBe("npx");
});

test.each([
  { command: "npx", args: ["-y", "@mcp-tx/cli", "--", "x"] },
  { command: "npx", args: ["-y", "@mcp-tx/cli@0.1.0", "--config", "c.json", "--", "x"] },
  { command: "mcp-tx", args: ["--", "x"] },
  { command: "C:\\\\bin\\\\MCP-TX.CMD", args: ["--url", "https://example.com"] },
  { command: "cmd", args: ["/c", "npx", "@mcp-tx/cli", "--", "x"] },
  { command: "node", args: ["/opt/node_modules/@mcp-tx/cli/dist/main.js", "--", "x"] },
])("an entry that somebody wrapped by hand is recognised: $command $args", async (entry) => {
  const machine = await testMachine();
  const text = JSON.stringify({ mcpServers: { hand: entry } });
  await machine.write("home/.cursor/mcp.json", text);
  const { stdout } = await runOn(init, machine);
  expect(stdout).toContain("left alone hand: wrapped already");
  expect(await machine.read("home/.cursor/mcp.json")).toBe(text);
});

test("a server whose own arguments name the package is not taken for wrapped", async () => {
  const machine = await testMachine();
  await machine.write(
    "home/.cursor/mcp.json",
    JSON.stringify({ mcpServers: { docs: { command: "docs", args: ["--", "@mcp-tx/cli"] } } }),
  );
  expect((await runOn(init, machine)).stdout).toContain("wrapped docs");
});

test("a dry run shows the change without secrets, and changes nothing", async () => {
  const machine = await testMachine();
  await machine.write("home/.claude.json", CLAUDE_CODE);
  await machine.write("home/.config/Claude/claude_desktop_config.json", CLAUDE_DESKTOP);
  const { stdout, code } = await runOn(init, machine, { isDryRun: true });
  expect(code).toBe(0);
  expect(stdout).toContain("would wrap github");
  expect(stdout).toContain(`  @@ "mcpServers" > "weather"
  -  "command": "uv",
  -  "args": ["--directory", "/absolute/path", "run", "weather.py"],
  +  "command": "npx",
  +  "args": ["-y", "@mcp-tx/cli", "--name", "weather", "--", "uv", "--directory", "/absolute/path", "run", "weather.py"],
  @@`);
  expect(stdout).toContain('+    "UPSTREAM_HEADER_AUTHORIZATION": "***"');
  expect(stdout).not.toMatch(/ghp_secret|hunter2|sk-weather-secret|secret-account/);
  expect(await machine.read("home/.claude.json")).toBe(CLAUDE_CODE);
  await expect(readdir(machine.where.stateFolder)).rejects.toThrow("ENOENT");
});

test("what is not a dry run prints no secrets either", async () => {
  const machine = await testMachine();
  await machine.write("home/.claude.json", CLAUDE_CODE);
  const { stdout, stderr } = await runOn(init, machine);
  expect(stdout + stderr).not.toMatch(/ghp_secret|hunter2|secret-account/);
});

test("a link stays a link, and permissions stay what they are", async () => {
  const machine = await testMachine();
  const target = await machine.write("dotfiles/cursor.json", CURSOR);
  await chmod(target, 0o600);
  await machine.write("home/.cursor/keep", "");
  const link = join(machine.root, "home/.cursor/mcp.json");
  await symlink(target, link);
  await runOn(init, machine);
  expect((await lstat(link)).isSymbolicLink()).toBe(true);
  expect((await stat(target)).mode & 0o777).toBe(0o600);
  expect(await machine.read("dotfiles/cursor.json")).toContain("@mcp-tx/cli");
  await runOn(undo, machine);
  expect((await lstat(link)).isSymbolicLink()).toBe(true);
  expect((await stat(target)).mode & 0o777).toBe(0o600);
  expect(await machine.read("dotfiles/cursor.json")).toBe(CURSOR);
});

test("a file whose way back cannot be remembered is not changed", async () => {
  const machine = await testMachine();
  await machine.write("home/.cursor/mcp.json", CURSOR);
  await machine.write("state", "a file in the place of the folder");
  expect((await runOn(init, machine)).code).toBe(1);
  expect(await machine.read("home/.cursor/mcp.json")).toBe(CURSOR);
});

test("the copy that undo needs is readable to its user alone, and there is no other file left", async () => {
  const machine = await testMachine();
  await machine.write("home/.cursor/mcp.json", CURSOR);
  await runOn(init, machine);
  const folder = join(machine.where.stateFolder, "undo");
  const [record, ...others] = await readdir(folder);
  expect(others).toEqual([]);
  expect((await stat(join(folder, String(record)))).mode & 0o777).toBe(0o600);
  expect((await stat(folder)).mode & 0o777).toBe(0o700);
  expect(await readdir(join(machine.root, "home/.cursor"))).toEqual(["mcp.json"]);
  await runOn(undo, machine);
  expect(await readdir(folder)).toEqual([]);
});
