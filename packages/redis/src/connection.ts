import { createHash } from "node:crypto";
import type {
  IoredisClient,
  IoredisCluster,
  IoredisNode,
  NodeRedisClient,
  NodeRedisCluster,
  NodeRedisNode,
  RedisStoreClient,
} from "./client.js";

/** A Lua script and the name by which a server that has seen it knows it. */
export interface Script {
  readonly lua: string;
  readonly sha: string;
}

export function script(lua: string): Script {
  return { lua, sha: createHash("sha1").update(lua).digest("hex") };
}

/** Some of the keys of one server, and where to go on. */
export interface KeyPage {
  /** `"0"` after the last page. */
  readonly cursor: string;
  readonly keys: readonly string[];
}

/** One server that holds data: the only one, or a master of a cluster. */
export interface Node {
  /** The section of INFO with the limits of memory. */
  memory(): Promise<string>;
  scan(cursor: string, pattern: string, count: number): Promise<KeyPage>;
}

/** What both drivers come down to. */
export interface Connection {
  /**
   * Runs a script of one key or two where they are, by its name, and in full where the server does not know it yet; gives what `read`
   * makes of the reply.
   */
  run<T>(script: Script, keys: string[], parameters: string[], read: (reply: unknown) => T | Promise<T>): Promise<T>;
  nodes(): Promise<readonly Node[]>;
}

/** A reply as text: a client may be set to give bytes. */
export function textOf(reply: unknown): string {
  return reply instanceof Uint8Array ? Buffer.from(reply).toString("utf8") : String(reply);
}

/** A reply that is 1 for yes and 0 for no; a client may be set to give numbers as text. */
export function isYes(reply: unknown): boolean {
  return Number(reply) === 1;
}

/** A reply that is a list, as all the scripts with more than one thing to say give it. */
export function listOf(reply: unknown): readonly unknown[] {
  if (Array.isArray(reply)) return reply;
  throw new Error(`redisStore: the server gave ${typeof reply} where a script gives a list; is there a proxy between?`);
}

function lacksScript(error: unknown): boolean {
  return error instanceof Error && error.message.includes("NOSCRIPT");
}

function ioredisNode(node: IoredisNode): Node {
  return {
    memory: async () => textOf(await node.info("memory")),
    scan: async (cursor, pattern, count) => {
      const [next, keys] = await node.scan(cursor, "MATCH", pattern, "COUNT", count);
      return { cursor: textOf(next), keys: keys.map(textOf) };
    },
  };
}

function ioredis(client: IoredisClient | IoredisCluster): Connection {
  return {
    run: ({ sha, lua }, keys, parameters, read) => {
      const first = keys[0] ?? "";
      const second = keys[1];
      // Spread once and at the end: otherwise the engine builds another list, which shows in the time of a claim.
      const sent =
        second === undefined
          ? client.evalsha(sha, 1, first, ...parameters)
          : client.evalsha(sha, 2, first, second, ...parameters);
      return sent.then(read, (error: unknown) => {
        if (!lacksScript(error)) throw error;
        return client.eval(lua, keys.length, ...keys, ...parameters).then(read);
      });
    },
    nodes: async () => ("nodes" in client ? client.nodes("master") : [client]).map(ioredisNode),
  };
}

function nodeRedisNode(node: NodeRedisNode): Node {
  return {
    memory: async () => textOf(await node.info("memory")),
    scan: async (cursor, pattern, count) => {
      // `redis` 4 declares a number and sends what it is given as text; a cursor does not fit a number.
      const reply = (await node.scan(cursor as never, { MATCH: pattern, COUNT: count })) as {
        readonly cursor: unknown;
        readonly keys: readonly unknown[];
      };
      return { cursor: textOf(reply.cursor), keys: reply.keys.map(textOf) };
    },
  };
}

function nodeRedis(client: NodeRedisClient | NodeRedisCluster): Connection {
  return {
    run: ({ sha, lua }, keys, parameters, read) => {
      const given = { keys, arguments: parameters };
      return client.evalSha(sha, given).then(read, (error: unknown) => {
        if (!lacksScript(error)) throw error;
        return client.eval(lua, given).then(read);
      });
    },
    nodes: async () => {
      if (!("masters" in client)) return [nodeRedisNode(client)];
      // A master of a cluster's own list is what its `nodeClient` takes, and it gives a client of the same driver.
      const nodes = client.masters.map(async (master) => (await client.nodeClient(master as never)) as NodeRedisNode);
      return (await Promise.all(nodes)).map(nodeRedisNode);
    },
  };
}

/** @throws TypeError for a client of neither driver */
export function connection(client: RedisStoreClient): Connection {
  const methods: { readonly evalsha?: unknown; readonly evalSha?: unknown } = Object(client);
  if (typeof methods.evalsha === "function" && "evalsha" in client) return ioredis(client);
  if (typeof methods.evalSha === "function" && "evalSha" in client) return nodeRedis(client);
  throw new TypeError(
    "redisStore: client must be a Redis or Cluster of ioredis, or what createClient, createClientPool, createSentinel or " +
      `createCluster of redis gives, got ${client === null ? "null" : typeof client}`,
  );
}
