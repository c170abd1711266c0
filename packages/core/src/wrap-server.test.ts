import { expect, test } from "vitest";
import type { InputRound } from "./contract.js";
import { wrapServer } from "./wrap-server.js";

type ServerHandler = (request: object, extra: object) => Promise<unknown>;

test("answers with an error, without its text, whatever a middleware throws", async () => {
  const handlers = new Map<string, ServerHandler>([["tools/call", async () => ({ content: [] })]]);
  const server = { _requestHandlers: handlers, connect: async () => undefined };
  const thrown: unknown[] = [undefined, null, "secret", new Error("secret")];
  wrapServer(server, [() => Promise.reject(thrown.shift())]);
  const call = { method: "tools/call", params: { name: "any" } };
  while (thrown.length > 0)
    await expect(handlers.get("tools/call")?.(call, {})).rejects.toMatchObject({
      code: -32_603,
      message: "Internal error",
    });
});

const STATE = (state?: string) => (): string | undefined => state;
const REQUESTS: readonly { readonly with: string; readonly extra: object; readonly round?: InputRound }[] = [
  { with: "nothing", extra: {} },
  { with: "no state of SDK v2", extra: { mcpReq: { requestState: STATE() } } },
  { with: "a state", extra: { mcpReq: { requestState: STATE("step-2") } }, round: { requestState: "step-2" } },
  {
    with: "answers",
    extra: { mcpReq: { inputResponses: { a: 1 }, requestState: STATE() } },
    round: { inputResponses: { a: 1 } },
  },
];

test.each(REQUESTS)("reads the input round of a request with $with", async ({ extra, round }) => {
  const rounds: (InputRound | undefined)[] = [];
  const handlers = new Map<string, ServerHandler>([["tools/call", async () => ({ content: [] })]]);
  wrapServer({ _requestHandlers: handlers, connect: async () => undefined }, [
    (ctx, next) => {
      rounds.push(ctx.call.request.round);
      return next(ctx);
    },
  ]);
  await handlers.get("tools/call")?.({ method: "tools/call", params: { name: "any" } }, extra);
  expect(rounds).toEqual([round]);
});
