import { expect, test } from "vitest";
import type { Middleware } from "./contract.js";
import { wrapClient } from "./wrap-client.js";

/** A client of the SDK's first line that notes the options it is called with. */
function noting() {
  const seen: unknown[] = [];
  const callTool = async (_params: unknown, _schema?: unknown, options?: unknown): Promise<{ content: [] }> => {
    seen.push(options);
    return { content: [] };
  };
  return { client: { callTool }, seen };
}

/** Lets the work go on when its caller no longer waits. */
const detach: Middleware = (ctx, next) => next({ ...ctx, deadline: Infinity });

test("an attempt that is detached from its caller's deadline is not cut by the SDK's default timeout", async () => {
  const { client, seen } = noting();
  await wrapClient(client, detach).call("slow", {}, { timeoutMs: 120_000 });
  expect(seen).toEqual([{ timeout: 2_147_483_647 }]);
});

test("an attempt that is detached keeps the SDK timeout that its caller gave", async () => {
  const { client, seen } = noting();
  await wrapClient(client, detach).callTool({ name: "slow" }, undefined, {
    timeout: 5000,
    timeoutMs: 120_000,
  } as object);
  expect(seen).toEqual([{ timeout: 5000 }]);
});

test("an attempt without any limit leaves the timeout to the SDK", async () => {
  const { client, seen } = noting();
  await wrapClient(client, detach).call("slow");
  expect(seen).toEqual([undefined]);
});
