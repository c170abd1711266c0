import fc from "fast-check";
import { expect, test } from "vitest";
import type { Connection } from "./connection.js";
import { Identity } from "./identity.js";
import { Keys, PARTITIONS } from "./keys.js";

const KEYS = new Keys("p:");

/** The markers of one store, on a server whose replies come in an order that somebody else decides. */
class FakeServer implements Connection {
  readonly held = new Map<string, string>();
  writes = 0;
  readonly #schedule: () => Promise<void>;

  constructor(ids: readonly string[], schedule: () => Promise<void> = async () => undefined) {
    this.#schedule = schedule;
    for (const [index, id] of ids.entries()) if (id !== "") this.held.set(KEYS.marker(index), id);
  }

  get ids(): string[] {
    return Array.from({ length: PARTITIONS }, (_, index) => this.held.get(KEYS.marker(index)) ?? "");
  }

  async run<T>(
    _script: unknown,
    [key = ""]: string[],
    [expected, id]: string[],
    read: (reply: unknown) => T | Promise<T>,
  ): Promise<T> {
    await this.#schedule();
    if (id !== undefined && id !== "" && (this.held.get(key) ?? "") === expected) {
      this.writes += 1;
      this.held.set(key, id);
    }
    const reply = [this.held.get(key) ?? "", `driver:${key}`];
    await this.#schedule();
    return read(reply);
  }

  async nodes() {
    return [];
  }
}

const all = (id: string): string[] => Array.from({ length: PARTITIONS }, () => id);

test("makes an identity where there is none, and finds it again", async () => {
  const server = new FakeServer([]);
  const id = await new Identity(server, KEYS).learn();
  expect(server.ids).toEqual(all(id));
  expect(await new Identity(server, KEYS).learn()).toBe(id);
});

test("an identity that is whole is read and left alone", async () => {
  const server = new FakeServer(all("known"));
  const identity = new Identity(server, KEYS);
  expect(identity.known).toBeUndefined();
  expect(await identity.learn()).toBe("known");
  expect(identity.known).toBe("known");
  expect(server.writes).toBe(0);
});

test("reaching the server changes nothing there, and tells what the driver puts before keys", async () => {
  const server = new FakeServer([]);
  const identity = new Identity(server, KEYS);
  await identity.reach();
  expect(identity.driverPrefix).toBe("driver:");
  expect(identity.known).toBeUndefined();
  expect(server.writes).toBe(0);
});

for (const lost of [0, 1, PARTITIONS - 1]) {
  test(`data that lost marker ${lost} are other data`, async () => {
    const server = new FakeServer(all("known").map((id, index) => (index === lost ? "" : id)));
    const id = await new Identity(server, KEYS).learn();
    expect(id).not.toBe("known");
    expect(server.ids).toEqual(all(id));
  });
}

test("markers that are behind take the name of the first one", async () => {
  const server = new FakeServer(all("behind").map((id, index) => (index === 0 ? "known" : id)));
  expect(await new Identity(server, KEYS).learn()).toBe("known");
  expect(server.ids).toEqual(all("known"));
});

test("a failure of the server is passed on, and the next try finds a way", async () => {
  let calls = 0;
  const server = new FakeServer([], async () => {
    calls += 1;
    if (calls === 200) throw new Error("the server is down");
  });
  const identity = new Identity(server, KEYS);
  await expect(identity.learn()).rejects.toThrow("the server is down");
  const id = await identity.learn();
  expect(server.ids).toEqual(all(id));
});

/** Any mixture of markers: that of one store, behind, or lost. */
const markers = fc
  .array(fc.constantFrom("", "old", "older"), { minLength: 4, maxLength: 4 })
  .map((few) => Array.from({ length: PARTITIONS }, (_, index) => few[index % 4] ?? ""));

test("processes that learn at once, from whatever they find, agree, and never on data that were lost", async () => {
  await fc.assert(
    fc.asyncProperty(
      markers,
      fc.integer({ min: 2, max: 4 }),
      fc.infiniteStream(fc.nat(3)),
      async (ids, count, waits) => {
        const server = new FakeServer(ids, async () => {
          for (let turns = waits.next().value ?? 0; turns > 0; turns -= 1) await Promise.resolve();
        });
        const identities = Array.from({ length: count }, () => new Identity(server, KEYS));
        await Promise.all(identities.map((identity) => identity.learn()));
        // Whoever was overtaken is told so by its next claim.
        const learned = await Promise.all(identities.map((identity) => identity.learn()));
        expect(new Set(learned)).toEqual(new Set(server.ids));
        expect(new Set(learned).size).toBe(1);
        if (ids.includes("")) expect(ids).not.toContain(learned[0]);
        else expect(learned[0]).toBe(ids[0]);
      },
    ),
    { numRuns: 60 },
  );
});

test("processes that begin at once with nothing agree at their first try", async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 2, max: 5 }), fc.infiniteStream(fc.nat(5)), async (count, waits) => {
      const server = new FakeServer([], async () => {
        for (let turns = waits.next().value ?? 0; turns > 0; turns -= 1) await Promise.resolve();
      });
      const learned = await Promise.all(Array.from({ length: count }, () => new Identity(server, KEYS).learn()));
      expect(new Set(learned).size).toBe(1);
    }),
    { numRuns: 60 },
  );
});
