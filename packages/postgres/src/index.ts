export type { PostgresClient, PostgresQuery } from "./client.js";
export { type PostgresStore, type PostgresStoreOptions, postgresStore } from "./postgres-store.js";
