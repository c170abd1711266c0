import { expect, test } from "vitest";
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
