import { expect, test } from "vitest";
import { listTools } from "./list-tools.js";

interface Sent {
  readonly request: unknown;
  readonly timeout: number;
}

/** A client whose server gives these pages, one for each request. */
function clientOf(pages: readonly unknown[]) {
  const sent: Sent[] = [];
  const client = {
    async request(request: unknown, _schema: unknown, { timeout }: { readonly timeout: number }) {
      sent.push({ request, timeout });
      return pages[sent.length - 1];
    },
  };
  return { client, sent };
}

test("follows the pages and keeps what the server says", async () => {
  const first = { name: "a", description: "A", inputSchema: { type: "object" }, annotations: { readOnlyHint: true } };
  const { client, sent } = clientOf([{ tools: [first], nextCursor: "2" }, { tools: [{ name: "b", icons: [] }] }]);
  expect(await listTools(client, { timeoutMs: 1000 })).toEqual([first, { name: "b", icons: [] }]);
  expect(sent.map(({ request }) => request)).toEqual([
    { method: "tools/list" },
    { method: "tools/list", params: { cursor: "2" } },
  ]);
  expect(sent.every(({ timeout }) => timeout >= 1 && timeout <= 1000)).toBe(true);
});

test("leaves out what is no tool", async () => {
  const { client } = clientOf([{ tools: [null, 1, {}, { name: 3 }, { name: "a" }] }]);
  expect(await listTools(client)).toEqual([{ name: "a" }]);
  expect(await listTools(clientOf([undefined]).client)).toEqual([]);
});

test("does not follow pages without end", async () => {
  const client = { request: async () => ({ tools: [], nextCursor: "again" }) };
  await expect(listTools(client)).rejects.toThrow("more than 20 pages");
});

test("passes what the client throws on, and refuses what is no client", async () => {
  const failure = new Error("Not connected");
  await expect(listTools({ request: () => Promise.reject(failure) })).rejects.toBe(failure);
  await expect(listTools({})).rejects.toThrow("listTools: client must be an MCP SDK client with a request method");
});
