import pg from "pg";
import { expect, test } from "vitest";
import { postgresStore } from "./postgres-store.js";

const pool = { query: async () => ({ rows: [] }) };

test.each([
  [undefined, /pool must be a Pool or Client of pg, got undefined/],
  [{}, /pool must be a Pool or Client of pg, got undefined/],
  [{ pool: {} }, /postgresStore: pool must be an object with a method query\(\)/],
  [{ pool: "postgres://localhost" }, /postgresStore: pool must be an object/],
  [{ pool, table: "a b" }, /postgresStore: table must be a name/],
  [{ pool, prepare: "yes" }, /postgresStore: prepare must be true or false/],
  [{ pool, tables: "a" }, /postgresStore: unknown option "tables"/],
])("refuses %j", (options, message) => {
  expect(() => postgresStore(options as never)).toThrow(TypeError);
  expect(() => postgresStore(options as never)).toThrow(message);
});

test("takes a Pool and a Client of pg as they are, and opens nothing", async () => {
  const own = new pg.Pool({ host: "nowhere.invalid" });
  const client = new pg.Client({ host: "nowhere.invalid" });
  for (const given of [own, client]) {
    const store = postgresStore({ pool: given });
    expect([store.idempotency.durable, store.saga.durable]).toEqual([true, true]);
    await store.close();
  }
  expect(own.totalCount).toBe(0);
});

test("does not know the identity of the data before it asked", () => {
  const { idempotency, saga } = postgresStore({ pool });
  for (const store of [idempotency, saga]) {
    expect(() => store.storeId).toThrow("postgresStore: storeId is not known yet; await migrate() or ready()");
  }
});

test("says what to do when the schema's version is not there", async () => {
  await expect(postgresStore({ pool }).ready()).rejects.toThrow(
    /the schema of table "mcp_tx" is empty\. Run `await store/,
  );
});

test("says so when something between it and the database swallows the row of a claim or a creation", async () => {
  const claim = { fingerprint: "f", token: "t", leaseMs: 1, epoch: 0, sentAtWall: 0 };
  await expect(postgresStore({ pool }).idempotency.claim("k", claim)).rejects.toThrow(/the claim gave no row/);
  const creation = { name: "n", definition: "d", input: "{}", token: "t", leaseMs: 1 };
  await expect(postgresStore({ pool }).saga.create("a", creation)).rejects.toThrow(/the creation gave no row/);
});
