import { afterAll, test as base, beforeAll, describe, expect } from "vitest";
import { openWorld, type Worker, type World } from "./fixtures/dbos-world.js";
import { postgres } from "./fixtures/services.js";

const server = await postgres();
const test = base.skipIf(server.missing !== undefined);

let world: World;

beforeAll(async () => {
  if (server.missing === undefined) world = await openWorld(server.url);
});

afterAll(async () => {
  await world?.close();
  await server.close();
});

/** One process, killed and started again under the executor id that it had. */
describe("a process that is killed", () => {
  let worker: Worker;

  test("goes on, when it is started again, with what it did and what it undid, and each effect is had once", async () => {
    worker = await world.start("one");
    const holds = [world.ledger.hold("doing", "c"), world.ledger.hold("undoing", "b", "undo")];
    for (const run of ["doing", "undoing"]) {
      await worker.ask("start", { saga: "order", input: { run, fails: "d" }, options: { id: run } });
    }
    await Promise.all(holds.map(({ reached }) => reached));
    await worker.kill();
    for (const { release } of holds) release();
    worker = await world.start("one");
    for (const run of ["doing", "undoing"]) {
      const outcome = await worker.ask("outcome", { id: run });
      expect(outcome).toMatchObject({ status: "compensated", compensated: ["d", "c", "b", "a"] });
      expect(world.ledger.of(run)).toEqual(["a", "b", "c", "d", "-d", "-c", "-b", "-a"]);
    }
  });

  test("leaves a saga whose definition it does not know any more, until it does again", async () => {
    const hold = world.ledger.hold("foreign", "b");
    await worker.ask("start", { saga: "order", input: { run: "foreign" }, options: { id: "foreign" } });
    await hold.reached;
    await worker.kill();
    hold.release();
    worker = await world.start("one", { knows: ["fan"] });
    await expect
      .poll(() => worker.ask("get", { id: "foreign" }), { timeout: 5000 })
      .toMatchObject({ status: "running", isKnown: false, runs: 2 });
    await worker.kill();
    worker = await world.start("one");
    await expect(worker.ask("outcome", { id: "foreign" })).resolves.toMatchObject({ status: "completed" });
    expect(world.ledger.of("foreign")).toEqual(["a", "b", "c", "d"]);
    await worker.kill();
  });
});

describe("two processes on one database", () => {
  let one: Worker;
  let other: Worker;

  beforeAll(async () => {
    if (server.missing === undefined) [one, other] = await Promise.all([world.start("two"), world.start("three")]);
  });

  test("run the same saga once", async () => {
    const job = { saga: "order", input: { run: "shared" }, options: { id: "shared" } } as const;
    const [here, there] = await Promise.all([one.ask("run", job), other.ask("run", job)]);
    expect(here).toEqual(there);
    expect(world.ledger.of("shared")).toEqual(["a", "b", "c", "d"]);
  });

  test("share what is on a queue", async () => {
    const runs = ["queued-1", "queued-2", "queued-3"];
    for (const run of runs) await one.ask("enqueue", { saga: "order", input: { run }, options: { id: run } });
    for (const run of runs) {
      await expect(other.ask("outcome", { id: run })).resolves.toMatchObject({ status: "completed" });
      expect(world.ledger.of(run)).toEqual(["a", "b", "c", "d"]);
    }
  });

  test("have each effect once when one takes over what the other still runs", async () => {
    const hold = world.ledger.hold("zombie", "b");
    const zombie = one.ask("run", { saga: "order", input: { run: "zombie" }, options: { id: "zombie" } });
    await hold.reached;
    await expect(other.ask("takeOver", { executorId: "two" })).resolves.toEqual(["zombie"]);
    hold.release();
    const outcome = await other.ask("outcome", { id: "zombie" });
    await expect(zombie).resolves.toEqual(outcome);
    expect(outcome.status).toBe("completed");
    expect(world.ledger.of("zombie")).toEqual(["a", "b", "c", "d"]);
  });

  test("leave what a dead one ran alone, until it is taken over", async () => {
    const holds = ["p", "q", "r"].map((step) => world.ledger.hold("left", step));
    await one.ask("start", { saga: "fan", input: { run: "left" }, options: { id: "left" } });
    await Promise.all(holds.map(({ reached }) => reached));
    await one.kill();
    for (const { release } of holds) release();
    await expect(other.ask("get", { id: "left" })).resolves.toMatchObject({ status: "running", executorId: "two" });
    await expect(other.ask("takeOver", { executorId: "two" })).resolves.toEqual(["left"]);
    await expect(other.ask("outcome", { id: "left" })).resolves.toMatchObject({ status: "completed" });
    expect([...world.ledger.of("left")].sort()).toEqual(["a", "p", "q", "r", "z"]);
  });
});
