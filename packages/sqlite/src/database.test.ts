import { expect, onTestFinished, test, vi } from "vitest";
import { configure, isBusy, isInFile, isInTransaction, openDatabase } from "./database.js";

const load = vi.hoisted(() => ({ error: undefined as Error | undefined }));

vi.mock("node:module", async (original) => {
  const real = await original<typeof import("node:module")>();
  const createRequire = (url: string) => {
    const require = real.createRequire(url);
    return (name: string): unknown => {
      if (load.error !== undefined) throw load.error;
      return require(name);
    };
  };
  return { ...real, createRequire };
});

/** A Node without `node:sqlite`, on which loading `libsql` fails. */
function withoutDrivers(error: Error): void {
  const spy = vi.spyOn(process, "getBuiltinModule").mockReturnValue(undefined as never);
  load.error = error;
  onTestFinished(() => {
    spy.mockRestore();
    load.error = undefined;
  });
}

test("says what to install where there is no driver", () => {
  withoutDrivers(Object.assign(new Error("Cannot find module 'libsql'"), { code: "MODULE_NOT_FOUND" }));
  expect(() => openDatabase(":memory:")).toThrow(/no node:sqlite.*libsql is not installed: run `npm install libsql`/);
});

test("says that a driver does not load", () => {
  withoutDrivers(new Error("invalid ELF header"));
  expect(() => openDatabase(":memory:")).toThrow("libsql does not load");
});

test("opens a database with what this Node has", () => {
  const database = openDatabase(":memory:");
  expect(database.prepare("SELECT 1 AS one").get()).toMatchObject({ one: 1 });
  expect(isInFile(database)).toBe(false);
  expect(isInTransaction(database)).toBe(false);
  database.exec("BEGIN");
  expect(isInTransaction(database)).toBe(true);
  database.close();
});

test("keeps what was committed through a power cut, and does not block for long", () => {
  const database = openDatabase(":memory:");
  configure(database);
  const extra = 3;
  expect(database.prepare("PRAGMA synchronous").get()).toMatchObject({ synchronous: extra });
  expect(database.prepare("PRAGMA busy_timeout").get()).toMatchObject({ timeout: 5 });
  database.close();
});

test("knows a locked file by every driver's words", () => {
  expect(isBusy(Object.assign(new Error("database is locked"), { code: "ERR_SQLITE_ERROR", errcode: 5 }))).toBe(true);
  expect(isBusy(Object.assign(new Error("database is locked"), { code: "ERR_SQLITE_ERROR", errcode: 517 }))).toBe(true);
  expect(isBusy(Object.assign(new Error("database is locked"), { code: "SQLITE_BUSY" }))).toBe(true);
  expect(isBusy(Object.assign(new Error("database is locked"), { code: "SQLITE_BUSY_SNAPSHOT" }))).toBe(true);
});

test("takes nothing else for a locked file", () => {
  expect(isBusy(Object.assign(new Error("disk I/O error"), { code: "ERR_SQLITE_ERROR", errcode: 10 }))).toBe(false);
  expect(isBusy(Object.assign(new Error("constraint"), { code: "SQLITE_CONSTRAINT" }))).toBe(false);
  expect(isBusy(new Error("database is locked"))).toBe(false);
  expect(isBusy(undefined)).toBe(false);
});
