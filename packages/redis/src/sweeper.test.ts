import { expect, test } from "vitest";
import type { Connection, KeyPage } from "./connection.js";
import { Sweeper } from "./sweeper.js";

/** Servers with pages of keys, all of them due; a key is due once. */
class FakeServers implements Connection {
  readonly tidied: string[] = [];
  readonly patterns: string[] = [];
  pages = 0;
  atOnce = 0;
  fail = false;
  readonly #servers: readonly (readonly (readonly string[])[])[];

  constructor(...servers: readonly (readonly (readonly string[])[])[]) {
    this.#servers = servers;
  }

  run<T>(_script: unknown, keys: string[], _parameters: unknown, read: (reply: unknown) => T | Promise<T>): Promise<T> {
    const key = keys[0] ?? "";
    const isDue = !this.tidied.includes(key);
    if (isDue) this.tidied.push(key);
    this.atOnce += 1;
    return Promise.resolve(isDue ? 1 : 0).then(read);
  }

  async nodes() {
    return this.#servers.map((pages) => ({
      memory: async () => "",
      scan: async (cursor: string, pattern: string): Promise<KeyPage> => {
        if (this.fail) throw new Error("the server is down");
        this.pages += 1;
        this.patterns.push(pattern);
        const next = Number(cursor) + 1;
        return { cursor: next < pages.length ? String(next) : "0", keys: pages[Number(cursor)] ?? [] };
      },
    }));
  }
}

test("tidies what all servers have, and no more than it may", async () => {
  const servers = new FakeServers([["a", "b"], [], ["c"]], [["d"]]);
  const sweeper = new Sweeper(servers, "p:");
  expect(await sweeper.sweep(3, "")).toBe(3);
  expect(servers.tidied).toEqual(["a", "b", "c"]);
  expect(await sweeper.sweep(3, "")).toBe(1);
  expect(await sweeper.sweep(3, "")).toBe(0);
});

test("goes on where the sweep before it stopped", async () => {
  const servers = new FakeServers([
    ["a", "b"],
    ["c", "d"],
    ["e", "f"],
  ]);
  const sweeper = new Sweeper(servers, "p:");
  for (const count of [1, 2, 3]) {
    expect(await sweeper.sweep(2, "")).toBe(2);
    expect(servers.pages).toBe(count);
  }
});

test("gives fewer than its limit only after a whole walk of its own", async () => {
  const servers = new FakeServers([["a", "b"]]);
  const sweeper = new Sweeper(servers, "p:");
  expect(await sweeper.sweep(1, "")).toBe(1);
  // Due again, on a page that this walk has passed.
  servers.tidied.length = 0;
  expect(await sweeper.sweep(10, "")).toBe(2);
});

test("sends no more at once than it may change", async () => {
  const servers = new FakeServers([["a", "b", "c", "d"]]);
  await new Sweeper(servers, "p:").sweep(2, "");
  expect(servers.atOnce).toBe(2);
});

test("does nothing when it may change nothing", async () => {
  const servers = new FakeServers([["a"]]);
  const sweeper = new Sweeper(servers, "p:");
  for (const limit of [0, -1, Number.NaN]) expect(await sweeper.sweep(limit, "")).toBe(0);
  expect(servers.pages).toBe(0);
});

test("begins anew after a failure", async () => {
  const servers = new FakeServers([["a"], ["b"]]);
  const sweeper = new Sweeper(servers, "p:");
  expect(await sweeper.sweep(1, "")).toBe(1);
  servers.fail = true;
  await expect(sweeper.sweep(1, "")).rejects.toThrow("the server is down");
  servers.fail = false;
  expect(await sweeper.sweep(10, "")).toBe(1);
  expect(servers.tidied).toEqual(["a", "b"]);
});

test("looks for its own keys alone, also when their names have signs of patterns", async () => {
  const servers = new FakeServers([["a[*]p?:x"]]);
  const sweeper = new Sweeper(servers, "p?:");
  expect(await sweeper.sweep(1, "a[*]")).toBe(1);
  expect(servers.patterns).toEqual(["a\\[\\*\\]p\\?:*"]);
  expect(servers.tidied).toEqual(["p?:x"]);
});

test("two sweeps at once share the work", async () => {
  const servers = new FakeServers([["a", "b"], ["c"], ["d"]]);
  const sweeper = new Sweeper(servers, "p:");
  const counts = await Promise.all([sweeper.sweep(10, ""), sweeper.sweep(10, "")]);
  expect(counts.reduce((sum, count) => sum + count, 0)).toBe(4);
});
