import type { Caller } from "@mcp-tx/core";
import { expect, test, vi } from "vitest";
import { attachedCaller } from "./attached-caller.js";
import type { HttpHandler } from "./index.js";

const RESULT = { content: [] };

function connected(): Caller & { readonly call: ReturnType<typeof vi.fn>; readonly invoke: ReturnType<typeof vi.fn> } {
  return { call: vi.fn(async () => RESULT), invoke: vi.fn(async () => "value") } as never;
}

/** A handler of which nothing is asked but its caller. */
function handlerWith(caller: () => Promise<Caller>): HttpHandler {
  return { caller } as HttpHandler;
}

test("connects on its first call, and not before", async () => {
  const inner = connected();
  const connect = vi.fn(async () => inner);
  const caller = attachedCaller(handlerWith(connect));
  expect(connect).not.toHaveBeenCalled();
  const options = { idempotencyKey: "k" };
  expect(await caller.call("echo", { text: "x" }, options)).toBe(RESULT);
  expect(inner.call).toHaveBeenCalledWith("echo", { text: "x" }, options);
  expect(await caller.invoke("echo", { text: "y" }, options)).toBe("value");
  expect(inner.invoke).toHaveBeenCalledWith("echo", { text: "y" }, options);
});

test("rejects with what connecting rejects with, and tries again at the next call", async () => {
  const answers: (() => Promise<Caller>)[] = [() => Promise.reject(new Error("down")), async () => connected()];
  const caller = attachedCaller(handlerWith(() => (answers.shift() ?? (async () => connected()))()));
  await expect(caller.call("echo")).rejects.toThrow("down");
  expect(await caller.call("echo")).toBe(RESULT);
});

test.each(["call", "invoke"] as const)("%s settles with the caller's reason while it connects", async (method) => {
  const gone = new AbortController();
  const caller = attachedCaller(handlerWith(() => new Promise(() => undefined)));
  const call = caller[method]("echo", {}, { signal: gone.signal });
  const reason = new Error("gone");
  gone.abort(reason);
  await expect(call).rejects.toBe(reason);
});

test("does not call for a caller who had gone before", async () => {
  const inner = connected();
  const reason = new Error("gone");
  const caller = attachedCaller(handlerWith(async () => inner));
  await expect(caller.call("echo", {}, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  expect(inner.call).not.toHaveBeenCalled();
});

test("leaves no listener on a signal", async () => {
  const { signal } = new AbortController();
  const add = vi.spyOn(signal, "addEventListener");
  const remove = vi.spyOn(signal, "removeEventListener");
  const caller = attachedCaller(handlerWith(async () => connected()));
  await caller.call("echo", {}, { signal });
  await expect
    .poll(() => remove.mock.calls.map(([, listener]) => listener))
    .toEqual(add.mock.calls.map(([, listener]) => listener));
});
