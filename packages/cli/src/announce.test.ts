import { ANNOUNCEMENT_KEY } from "@mcp-tx/core";
import { expect, test } from "vitest";
import { announced } from "./announce.js";
import type { Message, Request } from "./proxy-messages.js";

const STORE = { storeId: "s", windowMs: 1, durable: true };
const THEIRS = { [ANNOUNCEMENT_KEY]: { version: 1, idempotency: { storeId: "theirs", windowMs: 9, durable: true } } };

function capabilitiesOf(method: string, capabilities: object, store: typeof STORE | undefined = STORE): unknown {
  const request: Request = { id: 1, method };
  const answer = announced({ id: 1, result: { capabilities, serverInfo: {} } }, request, store);
  return (answer.result as { capabilities: unknown }).capabilities;
}

test("stands where the server's announcement stood, in either era", () => {
  const ours = { [ANNOUNCEMENT_KEY]: { version: 1, idempotency: STORE } };
  const both = { tools: {}, experimental: { ...THEIRS, a: {} }, extensions: { ...THEIRS, b: {} } };
  expect(capabilitiesOf("initialize", both)).toEqual({
    tools: {},
    experimental: { a: {}, ...ours },
    extensions: { b: {} },
  });
  expect(capabilitiesOf("server/discover", both)).toEqual({
    tools: {},
    experimental: { a: {} },
    extensions: { b: {}, ...ours },
  });
});

test("promises no store where there is none, whatever the server promises", () => {
  const expected = { experimental: { [ANNOUNCEMENT_KEY]: { version: 1 } } };
  const request: Request = { id: 1, method: "initialize" };
  const answer = announced({ id: 1, result: { capabilities: { extensions: THEIRS } } }, request, undefined);
  expect(answer.result).toEqual({ capabilities: expected });
});

test("leaves an answer alone that opens no session", () => {
  const refused: Message = { jsonrpc: "2.0", id: 1, error: { code: -32_602, message: "no" } };
  expect(announced(refused, { id: 1, method: "initialize" }, STORE)).toBe(refused);
});
