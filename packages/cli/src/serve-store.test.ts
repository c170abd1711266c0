import { stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { testMachine } from "./machine.fixture.js";
import { defaultStorePath, openStore } from "./serve-store.js";
import type { Surroundings } from "./surroundings.js";

const IDENTITY = { id: "abc", label: "a" };

function opened(where: Surroundings, given?: string) {
  const store = openStore(where, IDENTITY, given);
  onTestFinished(() => store.close());
  return store.idempotency;
}

test("keeps records in a file for each server, which only its user can read", async () => {
  const { where, root } = await testMachine();
  const store = opened(where);
  expect(store.durable).toBe(true);
  const path = defaultStorePath(where, IDENTITY);
  expect(path).toBe(join(root, "state/servers/abc.db"));
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  expect((await stat(join(root, "state/servers"))).mode & 0o777).toBe(0o700);
});

test("keeps records in the file that is named, relative to the working directory", async () => {
  const { where, root } = await testMachine();
  expect(opened(where, "deep/er/my.db").durable).toBe(true);
  expect((await stat(join(root, "project/deep/er/my.db"))).isFile()).toBe(true);
});

test("keeps records in memory on request", async () => {
  const { where } = await testMachine();
  expect(opened(where, "memory").durable).toBe(false);
});

test.each([
  ["a folder", "project"],
  ["below a file", "file/x.db"],
  ["a file that is no database", "file"],
])("%s is refused, naming the option and the way out", async (_name, path) => {
  const { where, root, write } = await testMachine();
  await write("project/keep", "");
  await writeFile(join(root, "file"), "this is no database, and it is long enough to be taken for one".repeat(20));
  expect(() => openStore(where, IDENTITY, join(root, path))).toThrow(
    expect.objectContaining({
      exitCode: 78,
      message: expect.stringMatching(/^--store: .* cannot be opened: .*--store memory/),
    }),
  );
});
