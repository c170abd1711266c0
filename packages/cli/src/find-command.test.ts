import { join } from "node:path";
import { expect, test } from "vitest";
import { findCommand } from "./find-command.js";
import { testMachine } from "./machine.fixture.js";

test("finds a command on the PATH, and one by its full path", async () => {
  const { where, write, root } = await testMachine();
  const path = await write("bin/tool", "", 0o755);
  expect(await findCommand(where, { command: "tool" })).toEqual({ kind: "found", path });
  expect(await findCommand(where, { command: path })).toEqual({ kind: "found", path });
  const other = await write("other/tool2", "", 0o755);
  expect(await findCommand(where, { command: "tool2", searchPath: `:${join(root, "other")}` })).toEqual({
    kind: "found",
    path: other,
  });
  expect(await findCommand(where, { command: "tool2" })).toEqual({ kind: "missing" });
});

test("a folder, or a file that nobody may execute, is no command", async () => {
  const { where, write } = await testMachine();
  await write("bin/folder/file", "", 0o644);
  expect(await findCommand(where, { command: "folder" })).toEqual({ kind: "missing" });
  const path = await write("bin/text", "", 0o644);
  expect(await findCommand(where, { command: "text" })).toEqual({ kind: "not-executable" });
  expect(await findCommand(where, { command: path })).toEqual({ kind: "not-executable" });
});

test.each([
  [`\${workspaceFolder}/bin/x`, "the host fills it in"],
  ["./x", "it is relative to the folder in which the host starts it"],
  ["bin/x", "it is relative to the folder in which the host starts it"],
])("does not judge %s", async (command, reason) => {
  const { where } = await testMachine();
  expect(await findCommand(where, { command })).toEqual({ kind: "unchecked", reason });
});

test("a server that is not there is missing, also when there is no PATH", async () => {
  const { where } = await testMachine();
  expect(await findCommand({ ...where, env: {} }, { command: "tool" })).toEqual({ kind: "missing" });
});
