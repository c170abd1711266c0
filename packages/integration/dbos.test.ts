import { DBOS } from "@dbos-inc/dbos-sdk";
import { defaultRuntime, wrapClient } from "@mcp-tx/core";
import { applicationVersion, createDbosSagas, type DbosSagas } from "@mcp-tx/dbos";
import { idempotency } from "@mcp-tx/idempotency";
import { defineSaga, SagaConflictError, SagaDefinitionError } from "@mcp-tx/saga";
import pg from "pg";
import { afterAll, afterEach, test as base, beforeAll, describe, expect, expectTypeOf } from "vitest";
import { type Did, fan, order, registerShop } from "./fixtures/dbos-shop.mjs";
import { type Database, Ledger, newDatabase } from "./fixtures/dbos-world.js";
import { v1 } from "./fixtures/lines.js";
import { type OpenStore, openStore } from "./fixtures/postgres-tables.js";
import { postgres } from "./fixtures/services.js";

const server = await postgres();
const test = base.skipIf(server.missing !== undefined);
const SILENT = { info() {}, debug() {}, warn() {}, error() {} };
const ledger = new Ledger();
const closings: (() => Promise<void>)[] = [() => server.close()];

let database: Database;
let store: OpenStore;
/** On the database of DBOS. */
let system: pg.Client;
let sagas: DbosSagas;
/** Knows the tools, of which one is missing. */
let checked: DbosSagas;
let runs = 0;
/** A workflow that runs a saga. */
let parent: (run: string) => Promise<{ readonly id: string; readonly status: string }>;
const events: { readonly id: string; readonly name: string; readonly recovered: boolean }[] = [];
/** How far the clock of sagas goes ahead. */
let aheadMs = 0;

/** An id that no other test has. */
function newId(): string {
  runs += 1;
  return `saga-${runs}`;
}

function launch(settings: Readonly<Record<string, unknown>> = {}): Promise<void> {
  DBOS.setConfig({
    name: "shop",
    systemDatabaseUrl: database.url,
    applicationVersion: applicationVersion(),
    executorID: "here",
    logger: SILENT,
    ...settings,
  });
  return DBOS.launch();
}

beforeAll(async () => {
  if (server.missing !== undefined) return;
  database = await newDatabase(server.url);
  store = await openStore(database.url);
  const shop = v1.mcpServer();
  registerShop(shop, ledger.tell);
  const client = v1.client();
  const [here, there] = v1.pair();
  await Promise.all([shop.connect(there), client.connect(here)]);
  const caller = wrapClient(client, [idempotency({ store: store.idempotency })]);
  const runtime = { ...defaultRuntime, wallNow: () => defaultRuntime.wallNow() + aheadMs };
  sagas = createDbosSagas({
    caller,
    sagas: [order, fan],
    runtime,
    onEvent: (name, detail) => {
      if ("id" in detail) events.push({ id: detail.id, name, recovered: "recovered" in detail && detail.recovered });
    },
  });
  const tools = [{ name: "work", inputSchema: { required: ["saga"] } }];
  checked = createDbosSagas({ caller, sagas: [order], tools, name: "checked" });
  parent = DBOS.registerWorkflow(
    async (run: string) => {
      const { id, status } = await sagas.run(order, { run });
      return { id, status };
    },
    { name: "parent" },
  );
  await launch();
  system = new pg.Client({ connectionString: database.url });
  await system.connect();
  closings.unshift(
    () => system.end(),
    () => DBOS.shutdown({ deregister: true, workflowCompletionTimeoutMS: 1000 }),
    () => client.close(),
    () => store.end(),
    () => database.drop(),
  );
});

afterAll(async () => {
  for (const close of closings) await close();
});

describe("a configuration that is not safe", () => {
  afterEach(async () => {
    await DBOS.shutdown();
    await launch();
  });

  test.for([
    [{ applicationVersion: "7" }, /applicationVersion: applicationVersion\(\)/],
    [{ executorID: undefined }, /executorID that is this process's alone/],
  ] as const)("starts no saga with %o", async ([settings, message]) => {
    await DBOS.shutdown();
    await launch(settings);
    await expect(sagas.start(order, { run: "x" })).rejects.toThrow(message);
    expect(await sagas.list()).toEqual([]);
  });
});

test("takes back what was done when a step fails, the latest first", async () => {
  const id = newId();
  const outcome = await sagas.run(order, { run: id, fails: "d" }, { id });
  expect(outcome).toMatchObject({ id, name: "order", status: "compensated", compensated: ["d", "c", "b", "a"] });
  expect(ledger.of(id)).toEqual(["a", "b", "c", "d", "-d", "-c", "-b", "-a"]);
});

test("takes back a parallel group, of which every step has ended", async () => {
  const id = newId();
  const outcome = await sagas.run(fan, { run: id, fails: "q" }, { id });
  expect(outcome.status).toBe("compensated");
  expect([...ledger.of(id).slice(0, 4)].sort()).toEqual(["a", "p", "q", "r"]);
  expect([...ledger.of(id).slice(4, 7)].sort()).toEqual(["-p", "-q", "-r"]);
  expect(ledger.of(id).slice(7)).toEqual(["-a"]);
});

test("starts the steps of a parallel group together", async () => {
  const id = newId();
  const holds = ["p", "q", "r"].map((step) => ledger.hold(id, step));
  const handle = await sagas.start(fan, { run: id }, { id });
  await Promise.all(holds.map(({ reached }) => reached));
  expect(ledger.of(id)).toHaveLength(4);
  for (const { release } of holds) release();
  await expect(handle.outcome()).resolves.toMatchObject({ status: "completed", results: { q: { did: "q" } } });
});

test("completes, with the results of its steps", async () => {
  const id = newId();
  const outcome = await sagas.run(order, { run: id }, { id });
  expect(outcome).toMatchObject({ id, status: "completed", results: { a: { did: "a" }, d: { did: "d" } } });
  if (outcome.status === "completed") expectTypeOf(outcome.results.d).toEqualTypeOf<Did>();
  expect(ledger.of(id)).toEqual(["a", "b", "c", "d"]);
});

test("shows each unit as one step of the workflow", async () => {
  const id = newId();
  await sagas.run(order, { run: id }, { id });
  const steps = (await DBOS.listWorkflowSteps(id)) ?? [];
  expect(steps.map(({ name }) => name)).toEqual([
    "begin",
    ...["a", "b", "c", "d"].flatMap((step) => [`prepare ["${step}","action"]`, `["${step}","action"]`]),
    "let go",
  ]);
});

test("keeps plain JSON, which any serialiser of DBOS gives back as it was", async () => {
  const id = newId();
  await sagas.run(order, { run: id, fails: "c" }, { id });
  const { rows } = await system.query(
    "SELECT function_name FROM dbos.operation_outputs WHERE workflow_uuid = $1 AND output::jsonb ? 'meta'",
    [id],
  );
  expect(rows).toEqual([]);
});

test("starts no saga that does not fit the tools", async () => {
  const id = newId();
  await expect(checked.start(order, { run: id }, { id })).rejects.toThrow(
    /tool "undo", which the server does not have/,
  );
  expect(ledger.of(id)).toEqual([]);
});

test("keeps sagas of different names apart", async () => {
  const id = newId();
  await sagas.run(order, { run: id }, { id });
  await expect(checked.get(id)).resolves.toBeUndefined();
  await expect(checked.list()).resolves.toEqual([]);
});

test("gives the same outcome for the same id, and runs nothing again", async () => {
  const id = newId();
  const first = await sagas.run(order, { run: id }, { id });
  await expect(sagas.run(order, { run: id }, { id })).resolves.toEqual(first);
  expect(ledger.of(id)).toHaveLength(4);
});

test("joins a saga that is running", async () => {
  const id = newId();
  const hold = ledger.hold(id, "b");
  const first = sagas.run(order, { run: id }, { id });
  await hold.reached;
  const second = await sagas.start(order, { run: id }, { id });
  hold.release();
  await expect(second.outcome()).resolves.toEqual(await first);
  expect(ledger.of(id)).toHaveLength(4);
});

test("refuses an id that is another saga's", async () => {
  const id = newId();
  await sagas.run(order, { run: id }, { id });
  const others = [sagas.start(order, { run: "other" }, { id }), sagas.start(fan, { run: id }, { id })];
  for (const refusal of await Promise.allSettled(others)) {
    expect(refusal).toMatchObject({ status: "rejected" });
    expect(SagaConflictError.isInstance((refusal as PromiseRejectedResult).reason)).toBe(true);
  }
});

test("refuses a definition that no process could carry on", async () => {
  const stranger = defineSaga("stranger").step({ name: "a", tool: "work" });
  const refused = await sagas.start(stranger, undefined).catch((error: unknown) => error);
  expect(SagaDefinitionError.isInstance(refused)).toBe(true);
});

test("refuses an input that cannot be kept", async () => {
  const id = newId();
  await expect(sagas.start(order, { run: id, fails: 1n as never }, { id })).rejects.toThrow(/the input\.fails/);
  await expect(sagas.get(id)).resolves.toBeUndefined();
});

test("undoes nothing when DBOS cancels the workflow, and goes on where it was when it is resumed", async () => {
  const id = newId();
  const hold = ledger.hold(id, "c");
  const handle = await sagas.start(order, { run: id }, { id });
  await hold.reached;
  await DBOS.cancelWorkflow(id);
  hold.release();
  await expect(handle.outcome()).rejects.toThrow(/cancelled/);
  expect(ledger.of(id)).toEqual(["a", "b", "c"]);
  await expect(sagas.get(id)).resolves.toMatchObject({ status: "halted", workflowStatus: "CANCELLED" });
  await expect(sagas.list({ status: "halted" })).resolves.toMatchObject([{ id, name: "order" }]);
  const resumed = await sagas.resume(id);
  await expect(resumed.outcome()).resolves.toMatchObject({ status: "completed" });
  const told = events.filter((event) => event.id === id && !event.name.startsWith("saga.step"));
  expect(told.map(({ name, recovered }) => (recovered ? `${name} again` : name))).toEqual([
    "saga.start",
    "saga.interrupted",
    "saga.start again",
    "saga.end",
  ]);
  // DBOS ran the step that it had cancelled again, and the record of its call kept the tool from it.
  expect(ledger.of(id)).toEqual(["a", "b", "c", "d"]);
});

test("undoes nothing when its history is another interpreter's, and goes on once it is not any more", async () => {
  const id = newId();
  const hold = ledger.hold(id, "c");
  const handle = await sagas.start(order, { run: id }, { id });
  await hold.reached;
  await DBOS.cancelWorkflow(id);
  hold.release();
  await expect(handle.outcome()).rejects.toThrow(/cancelled/);
  const rename = (name: string): Promise<unknown> =>
    system.query("UPDATE dbos.operation_outputs SET function_name = $1 WHERE workflow_uuid = $2 AND function_id = 1", [
      name,
      id,
    ]);
  await rename("of another interpreter");
  const misread = await sagas.resume(id);
  await expect(misread.outcome()).rejects.toThrow(/workflow is deterministic/);
  await expect(sagas.get(id)).resolves.toMatchObject({
    status: "halted",
    workflowStatus: "ERROR",
    error: expect.any(Error),
  });
  expect(ledger.of(id)).toEqual(["a", "b", "c"]);
  await rename('prepare ["a","action"]');
  const resumed = await sagas.resume(id);
  await expect(resumed.outcome()).resolves.toMatchObject({ status: "completed" });
  expect(ledger.of(id)).toEqual(["a", "b", "c", "d"]);
});

test("is stuck when a step cannot be undone, and says so", async () => {
  const id = newId();
  const outcome = await sagas.run(order, { run: id, fails: "c", staysDone: "b" }, { id });
  expect(outcome).toMatchObject({ status: "stuck", compensated: ["c", "a"], failedCompensations: ["b"] });
  await expect(sagas.list({ status: "stuck" })).resolves.toMatchObject([{ id, outcome }]);
  const handle = await sagas.resume(id);
  await expect(handle.outcome()).resolves.toEqual(outcome);
});

test("undoes nothing when DBOS is shut down in the middle, and goes on with the next launch", async () => {
  const id = newId();
  const hold = ledger.hold(id, "c");
  const handle = await sagas.start(order, { run: id }, { id });
  handle.outcome().catch(() => undefined);
  await hold.reached;
  await DBOS.shutdown();
  hold.release();
  await launch();
  const resumed = await sagas.resume(id);
  await expect(resumed.outcome()).resolves.toMatchObject({ status: "completed" });
  expect(ledger.of(id)).toEqual(["a", "b", "c", "d"]);
});

test("belongs to the workflow that runs it, also when that is carried on", async () => {
  const run = newId();
  const first = await DBOS.startWorkflow(parent, { workflowID: run })(run);
  const result = await first.getResult();
  expect(result).toMatchObject({ status: "completed" });
  await expect(sagas.get(result.id)).resolves.toMatchObject({ status: "completed" });
  const again = await DBOS.rewindWorkflow<typeof parent>(run, { startStep: 2 });
  await expect(again.getResult()).resolves.toEqual(result);
  expect(ledger.of(run)).toEqual(["a", "b", "c", "d"]);
});

test("is undone when its deadline passes", async () => {
  const id = newId();
  const hold = ledger.hold(id, "b");
  const handle = await sagas.start(order, { run: id }, { id, timeoutMs: 3_600_000 });
  await hold.reached;
  aheadMs = 3_600_000;
  hold.release();
  const outcome = await handle.outcome();
  aheadMs = 0;
  expect(outcome).toMatchObject({ status: "compensated", error: { name: "DeadlineError" } });
  expect(ledger.of(id)).toEqual(["a", "b", "-b", "-a"]);
});

test("lists sagas by status and name, the latest first", async () => {
  const [done, undone] = [newId(), newId()];
  await sagas.run(order, { run: done }, { id: done });
  await sagas.run(fan, { run: undone, fails: "a" }, { id: undone });
  expect(await sagas.list({ limit: 2 })).toMatchObject([
    {
      id: undone,
      name: "fan",
      status: "compensated",
      workflowStatus: "SUCCESS",
      executorId: "here",
      isKnown: true,
      runs: 1,
    },
    { id: done, name: "order", status: "completed", input: { run: done }, outcome: { results: { a: { did: "a" } } } },
  ]);
  expect((await sagas.list({ status: "compensated", limit: 1 })).map(({ id }) => id)).toEqual([undone]);
  expect((await sagas.list({ status: "completed", name: "order", limit: 1 })).map(({ id }) => id)).toEqual([done]);
  const { createdAt: startedSince } = (await sagas.get(undone)) ?? {};
  expect((await sagas.list({ startedSince })).map(({ id }) => id)).toEqual([undone]);
  await expect(sagas.list({ executorId: "nobody" })).resolves.toEqual([]);
});

test("knows nothing of workflows that are no sagas", async () => {
  await expect(sagas.get("nobody")).resolves.toBeUndefined();
  await expect(sagas.resume("nobody")).rejects.toThrow('there is no saga "nobody"');
});

test("does not take its own sagas over", async () => {
  await expect(sagas.takeOver("here")).rejects.toThrow(/own executor id/);
});
