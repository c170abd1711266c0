import { ANNOUNCEMENT_KEY, CALL_META_KEY, readReceipt, type ToolResult, wrapClient, wrapServer } from "@mcp-tx/core";
import { type IdempotencyOptions, idempotency, memoryStore } from "@mcp-tx/idempotency";
import { requireBearerAuth as bearerV1 } from "@modelcontextprotocol/sdk/server/auth/middleware/bearerAuth.js";
import { requireBearerAuth as bearerV2 } from "@modelcontextprotocol/server";
import { describe, expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { type HttpFixture, type HttpV1Options, httpV1, httpV2 } from "./fixtures/http-servers.js";
import { MODERN } from "./fixtures/idempotent-servers.js";
import { type Line, type SdkClient, type SdkServer, v1, v2 } from "./fixtures/lines.js";

/** Servers whose callers authenticate: what is one caller's is no other's. */

/** All users come through one application, and their tokens say who they are. */
const verifier = {
  verifyAccessToken: async (token: string) => ({
    token,
    clientId: "shared-app",
    scopes: [],
    expiresAt: Date.now() / 1000 + 3600,
    extra: { userId: token },
  }),
};

const gateV1 = bearerV1({ verifier });
const gateV2 = bearerV2({ verifier });

/** Express, as far as the SDK's middleware asks for it. */
const authenticate: HttpV1Options["authenticate"] = async (request, response) => {
  let passed = false;
  const express = Object.assign(response, {
    set: response.setHeader,
    status: (code: number) => response.writeHead(code),
    json: (body: unknown) => response.end(JSON.stringify(body)),
  });
  await gateV1(request as never, express as never, () => {
    passed = true;
  });
  return passed;
};

interface Setting {
  readonly on: string;
  readonly line: Line;
  readonly client: Readonly<Record<string, unknown>>;
  serve(build: () => SdkServer): Promise<HttpFixture>;
}

const viaV2 = (build: () => SdkServer): Promise<HttpFixture> => httpV2(build, { authenticate: gateV2 });
const SETTINGS: readonly Setting[] = [
  { on: "v1 with sessions", line: v1, client: {}, serve: (build) => httpV1(build, { authenticate }) },
  { on: "v1, stateless", line: v1, client: {}, serve: (build) => httpV1(build, { authenticate, stateless: true }) },
  { on: "v2, stateless", line: v2, client: {}, serve: viaV2 },
  { on: "v2, 2026-07-28", line: v2, client: MODERN, serve: viaV2 },
];

const SCOPE: IdempotencyOptions["scope"] = ({ call }) => {
  // Who gets here has passed the verifier above.
  const { extra } = call.peer.authInfo as { readonly extra: { readonly userId: string } };
  return extra.userId;
};

/** A bank at which everybody has an account, and clients of its users. */
async function bank({ line, client: clientOptions, serve }: Setting, scope: IdempotencyOptions["scope"]) {
  const store = memoryStore();
  const payments: unknown[] = [];
  const http = await serve(() => {
    const server = line.mcpServer();
    server.registerTool("pay", { inputSchema: z.looseObject({}) }, (async (args: { n?: number }, extra: Caller) => {
      const { userId } = (extra.authInfo ?? extra.http?.authInfo)?.extra ?? {};
      payments.push(userId);
      await new Promise((resolve) => setTimeout(resolve, 20));
      return { content: [{ type: "text", text: `${userId} paid ${args.n ?? 1}` }] };
    }) as never);
    return wrapServer(server, idempotency({ store, scope }));
  });
  onTestFinished(() => http.close());

  async function connect(token: string): Promise<SdkClient> {
    const client = line.client(clientOptions);
    const requestInit = { headers: { authorization: `Bearer ${token}` } };
    await client.connect(line.http(http.url, { requestInit }));
    onTestFinished(() => client.close());
    return client;
  }
  return { connect, payments, http };
}

interface Caller {
  readonly authInfo?: Identity;
  readonly http?: { readonly authInfo?: Identity };
}
interface Identity {
  readonly extra: { readonly userId: string };
}

function announcedTo(client: SdkClient): unknown {
  const capabilities = client.getServerCapabilities() as Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  return capabilities["experimental"]?.[ANNOUNCEMENT_KEY] ?? capabilities["extensions"]?.[ANNOUNCEMENT_KEY];
}

const textOf = (result: ToolResult): unknown => result.content?.[0]?.["text"];

describe.each(SETTINGS)("$on", (setting) => {
  test("nobody gets in without a token", async () => {
    const { http } = await bank(setting, SCOPE);
    const client = setting.line.client(setting.client);
    await expect(client.connect(setting.line.http(http.url))).rejects.toThrow();
  });

  test("without a scope, nothing is announced to callers that authenticate, and no key is honoured", async () => {
    const { connect, payments } = await bank(setting, undefined);
    const [alice, bob] = [await connect("alice"), await connect("bob")];
    expect([alice, bob].map(announcedTo)).toEqual([{ version: 1 }, { version: 1 }]);
    const keyed = wrapClient(alice, []).call("pay", {}, { idempotencyKey: "order-1" });
    await expect(keyed).rejects.toThrow(/nothing honours idempotencyKey/);
    // A client that insists gets its own result all the same.
    const insist = async (client: SdkClient) => {
      const meta = { requestId: "r", idempotencyKey: "order-1", attempt: 1, epoch: 0 };
      const params = { name: "pay", arguments: {}, _meta: { [CALL_META_KEY]: meta } };
      return (await client.callTool(params)) as ToolResult;
    };
    const results = [await insist(alice), await insist(bob), await insist(alice)];
    expect(results.map(textOf)).toEqual(["alice paid 1", "bob paid 1", "alice paid 1"]);
    expect(results.map(({ _meta }) => readReceipt(_meta)?.duplicate)).toEqual([false, false, false]);
    expect(payments).toEqual(["alice", "bob", "alice"]);
  });

  test("with a scope, the same key is another call for another caller", async () => {
    const { connect, payments } = await bank(setting, SCOPE);
    const [alice, bob] = [await connect("alice"), await connect("bob")];
    expect(announcedTo(alice)).toMatchObject({ idempotency: { storeId: expect.any(String) } });
    const pay = (client: SdkClient, n = 1) =>
      wrapClient(client, []).call("pay", { n }, { idempotencyKey: "order-1" }) as Promise<ToolResult>;
    const together = await Promise.all([pay(alice), pay(bob), pay(alice), pay(bob)]);
    expect(together.map(textOf)).toEqual(["alice paid 1", "bob paid 1", "alice paid 1", "bob paid 1"]);
    expect([...payments].sort()).toEqual(["alice", "bob"]);
    // From anywhere: what counts is who asks, not through which connection.
    const elsewhere = await pay(await connect("alice"));
    expect(textOf(elsewhere)).toBe("alice paid 1");
    expect(readReceipt(elsewhere._meta)).toMatchObject({ duplicate: true, execution: "executed" });
    // One caller's arguments are no conflict for another.
    expect(textOf(await pay(await connect("carol"), 5))).toBe("carol paid 5");
    await expect(pay(bob, 5)).rejects.toThrow(/other arguments/);
    expect(payments).toHaveLength(3);
  });
});
