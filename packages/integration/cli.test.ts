import { readFile, stat } from "node:fs/promises";
import { createServer as createHttpServer } from "node:http";
import { createServer } from "node:net";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { type CliHome, cliHome, ensureBuilt, keyed, MAIN, SERVER } from "./fixtures/cli-home.js";

beforeAll(ensureBuilt, 300_000);

const PATIENCE = { timeout: 90_000 } as const;
const WRAP: readonly string[] = ["--", process.execPath, SERVER];

/** What a host says first, as lines. */
const INITIALIZE = lines(
  {
    id: 1,
    method: "initialize",
    params: { protocolVersion: "2025-06-18", capabilities: {}, clientInfo: { name: "host", version: "1.0.0" } },
  },
  { method: "notifications/initialized" },
);

function lines(...messages: readonly object[]): string {
  return messages.map((message) => `${JSON.stringify({ jsonrpc: "2.0", ...message })}\n`).join("");
}

function textOf(result: unknown): string {
  const [first] = (result as { content?: { text?: string }[] }).content ?? [];
  return first?.text ?? "";
}

function order(client: Client, key: string) {
  return client.callTool({ name: "order", arguments: { item: "tea" }, _meta: keyed(key) });
}

/** A port on which nobody listens any more. */
async function deadPort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === "object" && address !== null ? address.port : 0;
}

async function reportOf(home: CliHome) {
  const { code, stdout } = await home.run(["report", "--json"]);
  expect(code).toBe(0);
  return JSON.parse(stdout);
}

describe("records of calls", () => {
  test("survive a restart of the proxy, and the report shows the duplicate", PATIENCE, async () => {
    const home = await cliHome();
    const first = await home.connect(WRAP);
    const original = await order(first.client, "order-1");
    await first.client.close();

    const second = await home.connect(WRAP);
    const duplicate = await order(second.client, "order-1");
    expect(textOf(duplicate)).toBe(textOf(original));
    expect(duplicate._meta?.["dev.mcp-tx/receipt"]).toMatchObject({ duplicate: true, execution: "executed" });
    await order(second.client, "order-2");
    await second.client.close();

    expect(await home.executions()).toHaveLength(2);
    await expect
      .poll(async () => (await reportOf(home)).totals)
      .toMatchObject({ calls: 3, completed: 3, deduplicated: 1 });
    const { tools } = await reportOf(home);
    expect(tools).toMatchObject([{ server: "cli-server.mjs", tool: "order", calls: 3, deduplicated: 1 }]);
    const calls = JSON.stringify(await reportOf(home));
    expect(calls).not.toMatch(/order-1|tea|ordered/);
  });

  test(
    "of a host that knows nothing of keys are found by the arguments that the configuration names",
    PATIENCE,
    async () => {
      const home = await cliHome();
      const section = { idempotency: { key: { fields: ["item"] } }, retry: false };
      const config = await home.write("config.json", JSON.stringify({ tools: { "ord*": section } }));
      const texts: string[] = [];
      for (const item of ["tea", "tea", "milk"]) {
        const { client } = await home.connect(["--config", config, ...WRAP]);
        texts.push(textOf(await client.callTool({ name: "order", arguments: { item } })));
        await client.close();
      }
      expect(texts[1]).toBe(texts[0]);
      expect(texts[2]).toContain("ordered milk");
      expect(await home.executions()).toHaveLength(2);
    },
  );

  test("of another server, or of the same under another name, are not given out", PATIENCE, async () => {
    const home = await cliHome();
    const store = ["--store", `${home.folder}/shared.db`];
    const texts: string[] = [];
    for (const args of [
      [...store, ...WRAP],
      [...store, "--name", "two", ...WRAP],
      [...store, ...WRAP, "other"],
    ]) {
      const { client } = await home.connect(args);
      texts.push(textOf(await order(client, "same")));
      await client.close();
    }
    expect(new Set(texts).size).toBe(3);
    expect(await home.executions()).toHaveLength(3);
  });

  test("of a call that was interrupted by the end of the proxy say that nobody knows", PATIENCE, async () => {
    const home = await cliHome();
    const config = await home.write("config.json", '{"idempotency": {"leaseMs": 500}}');
    const args = ["--config", config, ...WRAP];
    const first = await home.connect(args);
    const lost = first.client.callTool({ name: "hang", arguments: {}, _meta: keyed("hang-1") }).catch(() => undefined);
    await expect.poll(() => home.executions(), PATIENCE).toHaveLength(1);
    process.kill(Number(first.transport.pid), "SIGKILL");
    await lost;

    const second = await home.connect(args);
    const again = second.client.callTool({ name: "hang", arguments: {}, _meta: keyed("hang-1") });
    await expect(again).rejects.toMatchObject({
      data: { "dev.mcp-tx/receipt": { execution: "unknown", code: "outcome_unknown" } },
    });
    await second.client.close();
    expect(await home.executions()).toHaveLength(1);
    await expect.poll(async () => (await reportOf(home)).totals.unknown).toBe(1);
  });
});

describe("what cannot work", () => {
  test("a command that does not exist", PATIENCE, async () => {
    const home = await cliHome();
    const { code, stdout, stderr } = await home.start(["--", "no-such-command-of-any-machine", "secret-argument"])
      .finished;
    expect({ code, stdout }).toEqual({ code: 127, stdout: "" });
    expect(stderr).toMatch(/^mcp-tx: the command "no-such-command-of-any-machine" was not found/);
    expect(stderr).not.toContain("secret-argument");
    expect(stderr.trimEnd().split("\n")).toHaveLength(1);
  });

  test("a command that may not be executed", PATIENCE, async () => {
    const home = await cliHome();
    const file = await home.write("text.txt", "no program");
    const { code, stdout, stderr } = await home.start(["--quiet", "--", file]).finished;
    expect({ code, stdout }).toEqual({ code: 126, stdout: "" });
    expect(stderr).toContain("text.txt");
    expect(stderr.trimEnd().split("\n")).toHaveLength(1);
  });

  test("a configuration that is wrong, before the server is started", PATIENCE, async () => {
    const home = await cliHome();
    const config = await home.write("config.json", '{"retry": {"maxAttempts": "three"}}');
    const { code, stdout, stderr } = await home.run(["--config", config, ...WRAP]);
    expect({ code, stdout }).toEqual({ code: 78, stdout: "" });
    expect(stderr).toMatch(/^mcp-tx: --config: \S+config\.json: retry\.maxAttempts must be an integer >= 1[^\n]*\n$/);
  });

  test("a store that cannot be opened", PATIENCE, async () => {
    const home = await cliHome();
    const { code, stdout, stderr } = await home.run(["--store", home.folder, ...WRAP]);
    expect({ code, stdout }).toEqual({ code: 78, stdout: "" });
    expect(stderr).toMatch(/^mcp-tx: --store: [^\n]* cannot be opened: [^\n]*\n$/);
  });

  test("a url that nobody answers", PATIENCE, async () => {
    const home = await cliHome();
    const url = `http://127.0.0.1:${await deadPort()}/mcp?key=secret-key`;
    const running = home.start(["--url", url, "--header", "Authorization: Bearer secret-token"]);
    running.child.stdin?.write(INITIALIZE);
    const { code, stdout, stderr } = await running.finished;
    expect(code).toBe(69);
    expect(JSON.parse(stdout)).toMatchObject({
      id: 1,
      error: { message: expect.stringContaining("cannot be reached") },
    });
    expect(stderr).toContain("cannot be reached: ECONNREFUSED");
    expect(stderr).not.toMatch(/secret/);
  });

  test.each([
    [["--listen", "99999", "--", "x"], "--listen must be"],
    [["--url", "nope"], "--url must be"],
    [[], "say which server to run"],
  ])("the command line %j", PATIENCE, async (args, message) => {
    const { code, stdout, stderr } = await (await cliHome()).run(args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain(message);
    expect(stderr.trimEnd().split("\n")).toHaveLength(1);
  });

  test("an address that is taken", PATIENCE, async () => {
    const home = await cliHome();
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, "127.0.0.1", resolve));
    onTestFinished(() => void taken.close());
    const address = taken.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    const { code, stderr } = await home.run(["--listen", String(port), ...WRAP]);
    expect(code).toBe(1);
    expect(stderr).toContain(`--listen: cannot listen on 127.0.0.1:${port}`);
  });
});

test.each([
  ["SIGTERM", 143],
  ["SIGINT", 130],
] as const)("%s ends the proxy and its server, with the exit code %i", PATIENCE, async (signal, code) => {
  const home = await cliHome();
  const running = home.start(WRAP);
  running.child.stdin?.write(
    INITIALIZE + lines({ id: 2, method: "tools/call", params: { name: "hang", arguments: {} } }),
  );
  await expect.poll(() => home.executions(), PATIENCE).toHaveLength(1);
  running.child.kill(signal);
  const finished = await running.finished;
  expect(finished.code).toBe(code);
  const [{ pid = 0 } = {}] = await home.executions();
  await expect.poll(() => isAlive(pid), PATIENCE).toBe(false);
  for (const line of finished.stdout.trimEnd().split("\n")) expect(JSON.parse(line).jsonrpc).toBe("2.0");
});

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

test("a server is exposed over HTTP, and reached through a second proxy over stdio", PATIENCE, async () => {
  const home = await cliHome();
  const listening = home.start(["--quiet", "--listen", "0", ...WRAP]);
  await expect.poll(() => listening.stderr(), PATIENCE).toMatch(/listening on http:\/\/127\.0\.0\.1:\d+\/\S*\n/);
  const url = /listening on (\S+)/.exec(listening.stderr())?.[1] ?? "";

  const direct = new Client({ name: "host", version: "1.0.0" });
  onTestFinished(() => direct.close());
  await direct.connect(new StreamableHTTPClientTransport(new URL(url)) as never);
  expect(textOf(await direct.callTool({ name: "order", arguments: { item: "tea" } }))).toContain("ordered tea");

  const { client } = await home.connect(["--url", url, "--name", "far"]);
  expect(textOf(await client.callTool({ name: "order", arguments: { item: "milk" } }))).toContain("ordered milk");
  await client.close();
  await direct.close();
  listening.child.kill("SIGTERM");
  expect(await listening.finished).toMatchObject({ code: 143, stdout: "" });
});

test(
  "the headers of a server that init has wrapped reach it, with values that stand on no command line",
  PATIENCE,
  async () => {
    const authorizations: (string | undefined)[] = [];
    const server = createHttpServer((request, response) => {
      authorizations.push(request.headers.authorization);
      response.writeHead(401).end();
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    onTestFinished(() => void server.close());
    const address = server.address();
    const port = typeof address === "object" && address !== null ? address.port : 0;
    const home = await cliHome();
    const entry = { url: `http://127.0.0.1:${port}/mcp`, headers: { Authorization: "Bearer secret-token" } };
    await home.write("project/.mcp.json", JSON.stringify({ mcpServers: { far: entry } }));
    await home.run(["init"]);

    const { args, env } = JSON.parse(await home.read("project/.mcp.json")).mcpServers.far;
    expect(JSON.stringify(args)).not.toContain("secret-token");
    const running = home.start(args.slice(2), env);
    running.child.stdin?.write(INITIALIZE);
    await expect.poll(() => authorizations[0], PATIENCE).toBe("Bearer secret-token");
    const { code, stdout, stderr } = await running.finished;
    expect(code).toBe(69);
    expect(JSON.parse(stdout)).toMatchObject({ id: 1, error: { code: expect.any(Number) } });
    expect(stdout + stderr).not.toContain("secret-token");
  },
);

test("what --verbose says of calls holds neither arguments nor results nor keys", PATIENCE, async () => {
  const home = await cliHome();
  const running = home.start(["--verbose", ...WRAP]);
  const params = { name: "order", arguments: { item: "secret-item" }, _meta: keyed("secret-key") };
  running.child.stdin?.write(INITIALIZE + lines({ id: 2, method: "tools/call", params }));
  await expect.poll(() => running.stdout(), PATIENCE).toContain('"id":2');
  running.child.stdin?.end();
  const { code, stderr } = await running.finished;
  expect(code).toBe(0);
  expect(stderr).toContain('"tool":"order"');
  expect(stderr).not.toMatch(/secret-item|secret-key|ordered/);
});

test(
  "a configuration that init has rewritten starts the server through the proxy, and undo gives it back",
  PATIENCE,
  async () => {
    const home = await cliHome();
    const entry = { command: process.execPath, args: [SERVER], env: { SECRET: "secret-value" } };
    const original = `// mine\n${JSON.stringify({ servers: { shop: entry } }, undefined, "\t")}\n`;
    await home.write("project/.vscode/mcp.json", original);

    const dry = await home.run(["init", "--dry-run"]);
    expect(dry).toMatchObject({ code: 0, stderr: "" });
    expect(dry.stdout).not.toContain("secret-value");
    expect(await home.read("project/.vscode/mcp.json")).toBe(original);

    expect(await home.run(["init"])).toMatchObject({ code: 0, stderr: "" });
    const wrapped = await home.read("project/.vscode/mcp.json");
    const { command, args } = JSON.parse(wrapped.replace("// mine", "")).servers.shop;
    expect([command, ...args.slice(0, 2)]).toEqual(["npx", "-y", "@mcp-tx/cli"]);
    const { client } = await home.connect(args.slice(2));
    expect((await client.listTools()).tools.map(({ name }) => name)).toEqual(["order", "hang"]);
    await client.close();

    expect(await home.run(["doctor", "--file", ".vscode/mcp.json"])).toMatchObject({ stderr: "" });
    expect(await home.run(["init", "--undo"])).toMatchObject({ code: 0, stderr: "" });
    expect(await home.read("project/.vscode/mcp.json")).toBe(original);
  },
);

test("the built file can be executed by itself", PATIENCE, async () => {
  expect((await readFile(MAIN, "utf8")).startsWith("#!/usr/bin/env node\n")).toBe(true);
  expect((await stat(MAIN)).mode & 0o111).not.toBe(0);
});
