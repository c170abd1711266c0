import { DBOS } from "@dbos-inc/dbos-sdk";
import { type Middleware, wrapClient } from "@mcp-tx/core";
import { defineSaga, SagaDefinitionError } from "@mcp-tx/saga";
import { afterEach, describe, expect, test } from "vitest";
import { applicationVersion, createDbosSagas, type DbosSagasOptions, INTERPRETER_VERSION } from "./index.js";

const client = { callTool: async () => ({ content: [] }) };
const saga = defineSaga("one").step({ name: "a", tool: "a" });

/** A middleware that keeps records as said. */
function keeping(durable: boolean, bypasses = false): Middleware {
  const pass: Middleware = (ctx, next) => next(ctx);
  return Object.assign(pass, { records: { durable, bypasses, letGo: async () => true } });
}

const caller = wrapClient(client, [keeping(true)]);

afterEach(() => DBOS.shutdown({ deregister: true }));

describe("a caller whose repeated calls nobody recognises", () => {
  test.for([
    ["no idempotency()", wrapClient(client, []), /add idempotency\(\{ store \}\) with a durable store/],
    [
      "a volatile store",
      wrapClient(client, [keeping(false)]),
      /whose store is lost with the process; give it a durable one/,
    ],
    [
      "records that are bypassed",
      wrapClient(client, [keeping(true, true)]),
      /storeErrors "bypass".*leave it at "fail"/,
    ],
    ["a pipeline that cannot be seen", { ...client, call: async () => ({}) }, /trustCaller: true/],
  ] as const)("is refused for %s", ([, one, message]) => {
    const options = { caller: one, sagas: [saga] } as unknown as DbosSagasOptions;
    expect(() => createDbosSagas(options)).toThrow(TypeError);
    expect(() => createDbosSagas(options)).toThrow(message);
    expect(() => createDbosSagas({ ...options, trustCaller: true })).not.toThrow();
  });
});

test.for([
  [{ sagas: undefined }, "createDbosSagas: sagas must be an array of the definitions that this process runs"],
  [{ sagas: [] }, "createDbosSagas: sagas must be an array"],
  [{ sagas: [{}] }, "createDbosSagas: sagas must be made by defineSaga()"],
  [{ caller: undefined }, "createDbosSagas: caller must be given"],
  [{ name: "" }, "createDbosSagas: name must be a text of 1 to 100 characters"],
  [{ queue: 7 }, "createDbosSagas: queue must be a text"],
  [{ graceMs: -1 }, "createDbosSagas: graceMs must be a number >= 0"],
  [{ compensationRetry: { maxAttempts: 0 } }, "createDbosSagas: compensationRetry: maxAttempts must be"],
  [{ tools: "all" }, "createDbosSagas: tools must be an array"],
  [{ executor: "a" }, 'createDbosSagas: unknown option "executor"'],
] as const)("refuses %o", ([options, message]) => {
  const given = { caller, sagas: [saga], ...options } as unknown as DbosSagasOptions;
  expect(() => createDbosSagas(given)).toThrow(message);
});

test("refuses a definition that cannot be run", () => {
  const unsafe = defineSaga("unsafe").step({ name: "a", tool: "a" }).step({ name: "b", tool: "b", pivot: true });
  expect(() => createDbosSagas({ caller, sagas: [unsafe] })).toThrow(SagaDefinitionError);
});

test("registers a name once", () => {
  createDbosSagas({ caller, sagas: [saga] });
  expect(() => createDbosSagas({ caller, sagas: [saga] })).toThrow(/mcp-tx\.saga/);
  expect(() => createDbosSagas({ caller, sagas: [saga], name: "others" })).not.toThrow();
});

test("starts nothing before DBOS runs", async () => {
  const sagas = createDbosSagas({ caller, sagas: [saga] });
  await expect(sagas.start(saga, undefined)).rejects.toThrow("await DBOS.launch() first");
});

test.for([{ timeoutMs: 0 }, { id: "" }, { id: "a\0b" }])("refuses to start a saga with %o", async (options) => {
  const sagas = createDbosSagas({ caller, sagas: [saga] });
  await expect(sagas.start(saga, undefined, options)).rejects.toThrow(/^createDbosSagas: (id|timeoutMs) must be/);
});

test("an application version says which interpreter it is", () => {
  expect(applicationVersion()).toBe(INTERPRETER_VERSION);
  expect(applicationVersion("2026.11")).toBe(`2026.11+${INTERPRETER_VERSION}`);
});
