import { expect, test } from "vitest";
import { commandLine } from "./upstream-command.js";

test("starts a command as it is where the system can", () => {
  expect(commandLine("npx", ["-y", "a b"], "linux")).toEqual({ file: "npx", args: ["-y", "a b"], verbatim: false });
  expect(commandLine("C:\\node.EXE", ["a b"], "win32")).toEqual({
    file: "C:\\node.EXE",
    args: ["a b"],
    verbatim: false,
  });
});

test("starts scripts on Windows through the command processor, and lets it read nothing into an argument", () => {
  const { args, verbatim } = commandLine("npx", ['say "hi"', "a&b", "50%", "dir\\"], "win32");
  expect(verbatim).toBe(true);
  expect(args.slice(0, 3)).toEqual(["/d", "/s", "/c"]);
  expect(args[3]).toBe('"npx ^^^"say^^^ \\^^^"hi\\^^^"^^^" ^^^"a^^^&b^^^" ^^^"50^^^%^^^" ^^^"dir\\\\^^^""');
});
