import type { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { expect, onTestFinished, test, vi } from "vitest";
import { cut, type HttpFixture, httpV1, refuse, type Step } from "./fixtures/http-servers.js";
import { v1 } from "./fixtures/lines.js";
import { connected, overHttp, proxiedUrl, servedProxyOf, started } from "./fixtures/proxy-links.js";
import { registerTools } from "./fixtures/tools.mjs";

/** A proxy before a server over HTTP: expired sessions, lost streams, refusals. */

vi.setConfig({ testTimeout: 120_000 });

interface Scene {
  readonly server: HttpFixture;
  readonly runs: unknown[];
  readonly client: Client;
  call(text: string): Promise<Ending>;
  /** How often a session was begun at the server. */
  sessions(): number;
}

interface Ending {
  readonly isError?: boolean;
  readonly text: string;
  readonly policy: unknown;
}

async function scene(options: { readonly retries?: number; readonly over?: "http" } = {}): Promise<Scene> {
  const runs: unknown[] = [];
  const server = await httpV1(() => {
    const built = v1.mcpServer("over-http", {});
    registerTools(built, (entry: unknown) => runs.push(entry));
    return built;
  });
  onTestFinished(() => server.close());
  const { over, ...rest } = options;
  const url = new URL(server.url);
  const proxy = over === "http" ? await servedProxyOf(url, rest) : undefined;
  if (proxy !== undefined) onTestFinished(() => proxy.stop());
  const client = await connected(proxy === undefined ? started(proxiedUrl(url, rest)) : overHttp(proxy.url));
  onTestFinished(() => client.close());
  return {
    server,
    runs,
    client,
    async call(text) {
      const result = await client.callTool({ name: "echo", arguments: { text } });
      const [first] = result.content as { readonly text: string }[];
      return {
        ...(result.isError === true && { isError: true }),
        text: first?.text ?? "",
        policy: result._meta?.["dev.mcp-fuse/error-policy"],
      };
    },
    sessions: () => server.received.filter(({ method }) => method === "initialize").length,
  };
}

/** The server has restarted: it knows no session that was begun before. */
const forgotten: Step = refuse(404);

test("begins a new session when the server has forgotten the one there was", async () => {
  const { server, call, sessions, runs } = await scene();
  expect(await call("one")).toMatchObject({ text: expect.stringContaining("one") });
  server.script.push(forgotten);
  const refused = await call("two");
  expect(refused).toMatchObject({ isError: true, text: expect.stringContaining("was not called") });
  expect(refused.policy).toMatchObject({ version: "1", category: "transient", retryable: true });
  expect(await call("three")).toMatchObject({ text: expect.stringContaining("three") });
  expect(sessions()).toBe(2);
  expect(runs).toHaveLength(2);
});

test("does not carry a call over into the new session by itself", async () => {
  const { server, call, sessions } = await scene({ retries: 3 });
  server.script.push(forgotten);
  expect(await call("two")).toMatchObject({
    isError: true,
    text: expect.stringContaining("session with its server was lost"),
  });
  expect(await call("three")).toMatchObject({ text: expect.stringContaining("three") });
  expect(sessions()).toBe(2);
});

test.each([undefined, "http"] as const)(
  "says at once that a call is lost whose connection breaks (host over %s)",
  async (over) => {
    const { server, call, sessions } = await scene(over === undefined ? {} : { over });
    server.script.push(cut);
    const lost = await call("one");
    expect(lost).toMatchObject({ isError: true, text: expect.stringContaining("It is unknown whether tool") });
    expect(lost.policy).toMatchObject({ category: "unknown", retryable: false });
    expect(await call("two")).toMatchObject({ text: expect.stringContaining("two") });
    expect(sessions()).toBe(1);
  },
);

test("waits as long as the server asks, and then calls again", async () => {
  const { server, call, runs } = await scene({ retries: 2 });
  server.script.push(refuse(429, { "retry-after": "0" }));
  expect(await call("one")).not.toHaveProperty("isError");
  expect(runs).toHaveLength(1);
});

test("passes on when to come back, where it does not call again", async () => {
  const { server, call } = await scene();
  server.script.push(refuse(429, { "retry-after": "7" }));
  const refused = await call("one");
  expect(refused).toMatchObject({ isError: true });
  expect(refused.policy).toMatchObject({ category: "rate_limit", retryable: true, retry: { afterMs: 7000 } });
});

test("settles a stream that ends without its answer", async () => {
  const { server, call } = await scene();
  server.script.push(({ response }) => {
    response.writeHead(200, { "content-type": "text/event-stream" }).end(": nothing\n\n");
  });
  expect(await call("one")).toMatchObject({
    isError: true,
    text: expect.stringContaining("unknown whether the tool ran"),
  });
});

test("sends no call again that was under way when another found the session expired", async () => {
  const { server, runs, client, call, sessions } = await scene();
  const slow = client.callTool({ name: "slow", arguments: { ms: 60_000 } });
  await expect.poll(() => runs, { timeout: 30_000 }).toHaveLength(1);
  server.script.push(forgotten);
  expect(await call("one")).toMatchObject({ isError: true });
  expect(await call("two")).toMatchObject({ text: "two" });
  expect(await slow).toMatchObject({ isError: true, content: [{ text: expect.stringContaining("unknown whether") }] });
  expect(sessions()).toBe(2);
  expect(runs).toMatchObject([{ tool: "slow" }, { tool: "echo" }]);
});
