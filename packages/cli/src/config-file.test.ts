import { readdir, readFile, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { expect, test } from "vitest";
import { type ConfigFile, readConfigFile, replaceConfigFile } from "./config-file.js";
import { testMachine } from "./machine.fixture.js";

async function opened(text: string): Promise<ConfigFile> {
  const { write } = await testMachine();
  const file = await readConfigFile(await write("folder/config.json", text));
  if (file === undefined) throw new Error("the file is there");
  return file;
}

test("a file that is not there is no error", async () => {
  const { root, write } = await testMachine();
  await write("file", "");
  expect(await readConfigFile(`${root}/missing.json`)).toBeUndefined();
  expect(await readConfigFile(`${root}/file/below.json`)).toBeUndefined();
});

test("a folder in the place of a file is told", async () => {
  const { root, write } = await testMachine();
  await write("config.json/x", "");
  await expect(readConfigFile(`${root}/config.json`)).rejects.toThrow(/config\.json cannot be read: EISDIR/);
});

test("a file that somebody else has written to meanwhile is not written over", async () => {
  const file = await opened("{}");
  await writeFile(file.path, '{"theirs": 1}');
  await expect(replaceConfigFile(file, '{"ours": 1}')).rejects.toThrow("was changed while it was worked on");
  expect(await readFile(file.path, "utf8")).toBe('{"theirs": 1}');
});

test("a file is replaced, and nothing else is left beside it", async () => {
  const file = await opened("\u{FEFF}{}\r\n");
  expect(file.text).toBe("\u{FEFF}{}\r\n");
  await replaceConfigFile(file, '\u{FEFF}{"a": "é"}\r\n');
  expect(await readFile(file.path, "utf8")).toBe('\u{FEFF}{"a": "é"}\r\n');
  expect(await readdir(dirname(file.path))).toEqual(["config.json"]);
});
