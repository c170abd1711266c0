export type {
  IoredisClient,
  IoredisCluster,
  NodeRedisClient,
  NodeRedisCluster,
  RedisStoreClient,
} from "./client.js";
export { type RedisStore, type RedisStoreOptions, redisStore } from "./redis-store.js";
