import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { type PostgresClient, type PostgresQuery, Statements } from "./client.js";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

function failing(...errors: readonly unknown[]): PostgresClient & { readonly sent: PostgresQuery[] } {
  const sent: PostgresQuery[] = [];
  return {
    sent,
    query: async (query) => {
      sent.push(query);
      if (sent.length <= errors.length) throw errors[sent.length - 1];
      return { rows: [{ one: "1" }] };
    },
  };
}

const sqlState = (code: string): Error => Object.assign(new Error(`state ${code}`), { code });
const always = (error: Error): Error[] => Array.from({ length: 1000 }, () => error);

async function outcome<T>(promise: Promise<T>): Promise<PromiseSettledResult<T>> {
  const settled = Promise.allSettled([promise]);
  await vi.runAllTimersAsync();
  const [result] = await settled;
  return result;
}

test.each(["40001", "40P01"])("repeats a statement that was rolled back with %s", async (code) => {
  const client = failing(sqlState(code), sqlState(code));
  const result = await outcome(new Statements(client, false).statement("SELECT $1")(["a"]));
  expect(result).toEqual({ status: "fulfilled", value: [{ one: "1" }] });
  expect(client.sent).toHaveLength(3);
});

test("gives up after a few repetitions, in less than a second", async () => {
  const client = failing(...always(sqlState("40001")));
  const startedAt = Date.now();
  const result = await outcome(new Statements(client, false).statement("SELECT 1")([]));
  expect(result).toMatchObject({ status: "rejected", reason: { code: "40001" } });
  expect(client.sent).toHaveLength(13);
  expect(Date.now() - startedAt).toBeLessThan(1000);
});

test.each([sqlState("57P01"), sqlState("23505"), new Error("lost"), "thrown", null])(
  "repeats nothing that may have been committed: %s",
  async (error) => {
    const client = failing(error);
    const result = await outcome(new Statements(client, false).statement("SELECT 1")([]));
    expect(result).toEqual({ status: "rejected", reason: error });
    expect(client.sent).toHaveLength(1);
  },
);

test.each(["T", "E"])("refuses a client with transaction status %s and sends nothing", async (status) => {
  const client = { ...failing(), getTransactionStatus: () => status };
  await expect(new Statements(client, false).statement("SELECT 1")([])).rejects.toThrow(/inside a transaction/);
  expect(client.sent).toHaveLength(0);
});

test.each(["I", null])("takes a client with transaction status %s", async (status) => {
  const client = { ...failing(), getTransactionStatus: () => status };
  await expect(new Statements(client, false).statement("SELECT 1")([])).resolves.toHaveLength(1);
});

test("names statements only when asked to, each text by a name of its own", async () => {
  const [plain, named] = [failing(), failing()];
  await new Statements(plain, false).statement("SELECT 1")([]);
  expect(plain.sent).toEqual([{ text: "SELECT 1", values: [] }]);
  const statements = new Statements(named, true);
  for (const text of ["SELECT 1", "SELECT 2", "SELECT 1"]) await statements.statement(text)([]);
  const [first, second, third] = named.sent.map(({ name }) => name);
  expect(first).toBe(third);
  expect(first).not.toBe(second);
  expect(first?.length).toBeLessThan(64);
});
