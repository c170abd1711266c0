import { flag, type OptionReader, readOptions } from "@mcp-tx/core/options";
import type { IdempotencyStore, RateLimitStore } from "@mcp-tx/core/stores";
import type { RedisStoreClient } from "./client.js";
import { type Connection, connection } from "./connection.js";
import { refuseEviction } from "./eviction.js";
import { RedisIdempotencyStore } from "./idempotency.js";
import { Identity } from "./identity.js";
import { Keys, prefixOr } from "./keys.js";
import { RedisRateLimitStore } from "./rate-limit.js";

/** Options of {@link redisStore}. */
export interface RedisStoreOptions {
  /**
   * A `Redis` or `Cluster` of `ioredis`, or what `createClient`, `createClientPool`, `createSentinel` or `createCluster` of `redis`
   * gives. It stays yours: to configure, to connect, to listen to (`client.on("error", ...)`) and to close.
   */
  readonly client: RedisStoreClient;
  /**
   * What the names of all keys begin with: 1 to 100 characters, no braces. Two stores with one prefix in one database are one store.
   *
   * @defaultValue "mcp-tx:"
   */
  readonly prefix?: string | undefined;
  /**
   * Whether `ready` takes a server that may remove records when its memory is full, or that does not say. A call whose record is
   * removed early runs again when it is repeated.
   *
   * @defaultValue false
   */
  readonly allowEviction?: boolean | undefined;
}

/** The stores of one prefix in one Redis database. */
export interface RedisStore {
  /**
   * For `idempotency({ store })`. Its `storeId` is known after {@link RedisStore.ready}, and changes when a claim finds that records
   * were lost.
   */
  readonly idempotency: IdempotencyStore;
  /** For `rateLimit({ store })`. Needs no `ready`. */
  readonly rateLimit: RateLimitStore;
  /**
   * Checks by `INFO` that the server does not evict, and learns `storeId`, or makes it with the first of all processes. To be awaited
   * before the first call; a claim that comes earlier does so itself.
   *
   * @throws Error when the server may evict, saying what to do, and what the client throws
   */
  ready(): Promise<void>;
  /** Does nothing: the client is yours. */
  close(): Promise<void>;
}

const client: OptionReader<Connection> = (value) => {
  // Whatever it is, it is looked at there.
  return connection(value as RedisStoreClient);
};

/** Runs once at a time: whoever comes meanwhile waits for the same. */
function shared(act: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> | undefined;
  return () => {
    running ??= act().finally(() => {
      running = undefined;
    });
    return running;
  };
}

/**
 * Keeps idempotency records and rate limits in Redis 6 or later or in Valkey, also in a cluster, shared by all processes, on the
 * server's clock.
 *
 * @throws TypeError or RangeError at construction, naming the option
 */
export function redisStore(options: RedisStoreOptions): RedisStore {
  const read = readOptions("redisStore", options, { client, prefix: prefixOr("mcp-tx:"), allowEviction: flag(false) });
  const keys = new Keys(read.prefix);
  const identity = new Identity(read.client, keys);
  const ready = shared(async () => {
    // The client of a cluster knows its masters only after it was used.
    await identity.reach();
    if (!read.allowEviction) await refuseEviction(read.client);
    await identity.learn();
  });
  return {
    idempotency: new RedisIdempotencyStore(read.client, keys, identity, ready),
    rateLimit: new RedisRateLimitStore(read.client, keys),
    ready,
    close: async () => undefined,
  };
}
