/** What the stores need of a client, stated by structure: neither driver is imported, and any version that has it will do. */

/** One server, as `ioredis` talks to it. */
interface IoredisNode {
  info(section: string): Promise<string>;
  scan(cursor: string, match: "MATCH", pattern: string, count: "COUNT", size: number): Promise<[string, string[]]>;
}

interface IoredisScripting {
  evalsha(sha: string, keyCount: number, ...keysAndArguments: string[]): Promise<unknown>;
  eval(lua: string, keyCount: number, ...keysAndArguments: string[]): Promise<unknown>;
}

/** A `Redis` of `ioredis` 5 or later. */
export interface IoredisClient extends IoredisScripting, IoredisNode {}

/** A `Cluster` of `ioredis` 5 or later. */
export interface IoredisCluster extends IoredisScripting {
  nodes(role: "master"): readonly IoredisNode[];
}

interface ScriptParameters {
  keys: string[];
  arguments: string[];
}

/** One server, as `redis` talks to it. */
interface NodeRedisNode {
  info(section: string): Promise<unknown>;
  /** The cursor is a number in `redis` 4 and a string from 5 on. */
  scan(cursor: never, options: { MATCH: string; COUNT: number }): Promise<unknown>;
}

interface NodeRedisScripting {
  evalSha(sha: string, parameters: ScriptParameters): Promise<unknown>;
  eval(lua: string, parameters: ScriptParameters): Promise<unknown>;
}

/** What `createClient`, `createClientPool` and `createSentinel` of `redis` (node-redis) give. */
export interface NodeRedisClient extends NodeRedisScripting, NodeRedisNode {}

/** What `createCluster` of `redis` (node-redis) gives. */
export interface NodeRedisCluster extends NodeRedisScripting {
  readonly masters: readonly unknown[];
  nodeClient(master: never): unknown;
}

/** A client that {@link redisStore} takes: of `ioredis` or of `redis` (node-redis), for one server or for a cluster. */
export type RedisStoreClient = IoredisClient | IoredisCluster | NodeRedisClient | NodeRedisCluster;

export type { IoredisNode, NodeRedisNode };
