import { idempotencyStoreContract } from "@mcp-tx/core/testing";
import { expect, test } from "vitest";
import { failuresOf, pageOf, verdictsOn } from "./fixtures/page-tests.js";

const CASES = idempotencyStoreContract(() => {
  throw new Error("only the names are asked for");
}).map(({ name }) => name);

test("the store on the page passes the whole contract", async () => {
  const verdicts = await verdictsOn(await pageOf("write-a-store.md"));
  expect(failuresOf(verdicts)).toEqual([]);
  expect(verdicts.map(({ name }) => name).sort()).toEqual([...CASES].sort());
});

/** Mistakes that the page warns of, and what of it they change. */
const MISTAKES: Readonly<Record<string, readonly [from: string, to: string]>> = {
  "takes what somebody else is working on": [
    'if (record.state === "pending") return record.token === token;',
    'if (record.state === "pending") return true;',
  ],
  "hears no owner that is late": ["if (!isOpen(record)) return", 'if (record.state !== "pending") return'],
  "leaves leases to the sweep": ["record.leaseUntil > now ? record", "now >= 0 ? record"],
};

test.each(Object.entries(MISTAKES))("a store that %s is found out", async (_name, [from, to]) => {
  const page = await pageOf("write-a-store.md");
  const broken = page.replace(from, to);
  expect(broken).not.toBe(page);
  const noticed = failuresOf(await verdictsOn(broken)).map(({ name }) => name);
  expect(noticed).not.toEqual([]);
  // By cases of the contract, and not because the page does not load any more.
  expect(CASES).toEqual(expect.arrayContaining(noticed));
});
