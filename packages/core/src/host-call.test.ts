import { expect, test } from "vitest";
import { McpTxError, ReplayedError } from "./errors.js";
import { contentOf, forHost, type HostRequest, JsonRpcError, SendFailure } from "./host-call.js";
import { CALL_META_KEY, RECEIPT_ERROR_CODE, RECEIPT_KEY } from "./wire.js";

test("a host hears of an error as it came from the server", () => {
  const error = { code: -32_002, message: "no such order", data: { order: 7 } };
  expect(contentOf(new JsonRpcError({ error }))).toEqual({ error });
});

test("a host hears of a recorded error answer as it came the first time", () => {
  const answer = { code: -32_002, message: "no such order", data: { order: 7 } };
  expect(contentOf(new ReplayedError("ran already", { code: "protocol_error", answer }))).toEqual({ error: answer });
});

test("a host hears of any other error of ours with a receipt", () => {
  const outcome = { status: "failure", execution: "executed", transient: false } as const;
  for (const error of [
    new ReplayedError("ran already", { code: "tool_error" }),
    new McpTxError("failed", "tool_error", { outcome }),
  ]) {
    expect(contentOf(error).error).toMatchObject({ code: RECEIPT_ERROR_CODE, message: error.message });
  }
});

test("what the transport threw is thrown again", () => {
  const cause = new Error("closed");
  expect(() => contentOf(new SendFailure(cause))).toThrow(cause);
});

const request = (meta: object): HostRequest => ({ meta }) as HostRequest;
const RECEIPT = { requestId: "r", ack: true, execution: "executed", duplicate: false };

test("a host that said nothing of us gets a result without the server's receipt", () => {
  const content = { result: { content: [], _meta: { [RECEIPT_KEY]: RECEIPT } } };
  expect(forHost(content, request({}))).toStrictEqual({ result: { content: [] } });
  const more = { result: { content: [], _meta: { "acme/x": 1, [RECEIPT_KEY]: RECEIPT } } };
  expect(forHost(more, request({}))).toStrictEqual({ result: { content: [], _meta: { "acme/x": 1 } } });
  expect(content.result._meta).toHaveProperty([RECEIPT_KEY]);
});

test("a host that asked for it gets the receipt, and what has none goes through as it is", () => {
  const aware = request({ [CALL_META_KEY]: { requestId: "r", idempotencyKey: "k", attempt: 1, epoch: 0 } });
  const content = { result: { content: [], _meta: { [RECEIPT_KEY]: RECEIPT } } };
  expect(forHost(content, aware)).toBe(content);
  for (const plain of [
    { result: { _meta: { "acme/x": 1 } } },
    { result: {} },
    { error: { code: 1 } },
    { result: null },
  ])
    expect(forHost(plain, request({}))).toBe(plain);
});
