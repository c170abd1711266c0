export type { SqliteDatabase, SqliteStatement, SqlValue } from "./database.js";
export { type SqliteStore, type SqliteStoreOptions, sqliteStore } from "./sqlite-store.js";
