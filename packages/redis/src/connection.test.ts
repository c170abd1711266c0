import { expect, test } from "vitest";
import type { IoredisClient, NodeRedisClient, RedisStoreClient } from "./client.js";
import { connection, listOf, script, textOf } from "./connection.js";

const SCRIPT = script("return 1");
const identity = (reply: unknown): unknown => reply;

/** A client of each driver that writes down what it is asked, and answers `evalsha` as told. */
function fakes(answer: () => Promise<unknown>): { name: string; client: RedisStoreClient; asked: unknown[][] }[] {
  const [ioredisAsked, redisAsked]: unknown[][][] = [[], []];
  const ioredis: IoredisClient = {
    evalsha: (...given) => {
      ioredisAsked?.push(["evalsha", ...given]);
      return answer();
    },
    eval: async (...given) => {
      ioredisAsked?.push(["eval", ...given]);
      return "loaded";
    },
    info: async (section) => `ioredis ${section}`,
    scan: async (cursor, _match, pattern, _count, size) => [`${cursor}1`, [pattern, String(size)]],
  };
  const redis: NodeRedisClient = {
    evalSha: (sha, { keys, arguments: given }) => {
      redisAsked?.push(["evalsha", sha, keys.length, ...keys, ...given]);
      return answer();
    },
    eval: async (lua, { keys, arguments: given }) => {
      redisAsked?.push(["eval", lua, keys.length, ...keys, ...given]);
      return "loaded";
    },
    info: async (section) => Buffer.from(`redis ${section}`),
    scan: async (cursor: string, { MATCH, COUNT }) => ({
      cursor: Number(`${cursor}1`),
      keys: [MATCH, Buffer.from(`${COUNT}`)],
    }),
  };
  return [
    { name: "ioredis", client: ioredis, asked: ioredisAsked ?? [] },
    { name: "redis", client: redis, asked: redisAsked ?? [] },
  ];
}

for (const index of [0, 1]) {
  const { name } = fakes(async () => undefined)[index] ?? { name: "" };
  const fake = (answer: () => Promise<unknown> = async () => "known") =>
    fakes(answer)[index] ?? { client: {} as RedisStoreClient, asked: [] };

  test(`sends a script by its name alone when the server knows it: ${name}`, async () => {
    const { client, asked } = fake();
    expect(await connection(client).run(SCRIPT, ["key"], ["a", "b"], identity)).toBe("known");
    expect(asked).toEqual([["evalsha", SCRIPT.sha, 1, "key", "a", "b"]]);
  });

  test(`sends a script in full when the server does not know it: ${name}`, async () => {
    const { client, asked } = fake(() => Promise.reject(new Error("NOSCRIPT No matching script.")));
    expect(await connection(client).run(SCRIPT, ["key"], ["a"], identity)).toBe("loaded");
    expect(asked[1]).toEqual(["eval", SCRIPT.lua, 1, "key", "a"]);
  });

  test(`passes any other error on, and sends nothing again: ${name}`, async () => {
    const lost = new Error("Connection is closed.");
    const { client, asked } = fake(() => Promise.reject(lost));
    await expect(connection(client).run(SCRIPT, ["key"], [], identity)).rejects.toBe(lost);
    expect(asked).toHaveLength(1);
  });

  test(`what reading a reply throws does not send it again: ${name}`, async () => {
    const { client, asked } = fake();
    const fail = (): never => {
      throw new Error("NOSCRIPT in a reply");
    };
    await expect(connection(client).run(SCRIPT, ["key"], [], fail)).rejects.toThrow("in a reply");
    expect(asked).toHaveLength(1);
  });

  test(`asks the server for its memory and its keys: ${name}`, async () => {
    const [node] = await connection(fake().client).nodes();
    expect(await node?.memory()).toBe(`${name} memory`);
    expect(await node?.scan("4", "a*", 7)).toEqual({ cursor: "41", keys: ["a*", "7"] });
  });
}

test("asks all masters of a cluster of ioredis", async () => {
  const node = (memory: string) => ({
    info: async () => memory,
    scan: async (): Promise<[string, string[]]> => ["0", []],
  });
  const client = { evalsha: async () => 1, eval: async () => 1, nodes: () => [node("first"), node("second")] };
  const nodes = await connection(client).nodes();
  expect(await Promise.all(nodes.map((one) => one.memory()))).toEqual(["first", "second"]);
});

test("asks all masters of a cluster of redis, connected or not", async () => {
  const node = (memory: string) => ({ info: async () => memory, scan: async () => ({ cursor: "0", keys: [] }) });
  const client = {
    evalSha: async () => 1,
    eval: async () => 1,
    masters: ["first", "second"],
    nodeClient: (master: string) => (master === "first" ? node(master) : Promise.resolve(node(master))),
  };
  const nodes = await connection(client).nodes();
  expect(await Promise.all(nodes.map((one) => one.memory()))).toEqual(["first", "second"]);
});

test("refuses what is no client", () => {
  for (const wrong of [undefined, null, 1, "redis://localhost", {}, { sendCommand: () => undefined }]) {
    // What a caller without types may give.
    expect(() => connection(wrong as unknown as RedisStoreClient)).toThrow(TypeError);
  }
});

test("reads text from bytes and from text", () => {
  expect(textOf("鍵")).toBe("鍵");
  expect(textOf(Buffer.from("鍵"))).toBe("鍵");
  expect(textOf(new Uint8Array([0x61]))).toBe("a");
});

test("says so when a reply is not what the script gives", () => {
  expect(() => listOf("PONG")).toThrow("is there a proxy between?");
});
