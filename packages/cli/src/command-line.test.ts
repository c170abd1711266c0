import { expect, test } from "vitest";
import { parseCommandLine, type Request } from "./command-line.js";
import { CliError } from "./exit-codes.js";

function parse(args: readonly string[], env: Record<string, string> = {}): { request: Request; said: string } {
  const said: string[] = [];
  const write = (text: string): void => void said.push(text);
  const request = parseCommandLine(args, { env, version: "1.2.3", now: 0, write });
  return { request, said: said.join("") };
}

function refusal(args: readonly string[]): CliError {
  try {
    parse(args);
  } catch (error) {
    if (error instanceof CliError) return error;
    throw error;
  }
  throw new Error(`${JSON.stringify(args)} was accepted`);
}

test.each([
  [["--", "node", "server.js"]],
  // A package manager may take the dashes for its own.
  [["node", "server.js"]],
])("runs a command: %j", (args) => {
  expect(parse(args).request).toMatchObject({
    kind: "serve",
    request: { target: { command: "node", args: ["server.js"] }, listen: undefined, verbosity: "normal" },
  });
});

test("hands the command's own arguments on as they are", () => {
  const words = ["--url", "--", "-q", "a b", "", "--name=x", '"'];
  expect(parse(["--", "x", ...words]).request).toMatchObject({ request: { target: { command: "x", args: words } } });
  expect(parse(["-q", "x", ...words]).request).toMatchObject({
    request: { verbosity: "quiet", target: { command: "x", args: words } },
  });
});

test.each(["init", "doctor", "report", "help"])("a command that is called %s can be run", (command) => {
  expect(parse(["--", command]).request).toMatchObject({ kind: "serve", request: { target: { command, args: [] } } });
});

test("takes all options of a proxy", () => {
  const args = ["--url", "https://example.com/mcp", "--header", "A: 1", "--header", "B: 2", "--header-env", "C=KEY"];
  const more = ["--listen", "0", "--config", "c.json", "--store", "memory", "--name", "n", "--verbose"];
  expect(parse([...args, ...more], { KEY: "3" }).request).toEqual({
    kind: "serve",
    request: {
      target: { url: new URL("https://example.com/mcp"), headers: { A: "1", B: "2", C: "3" } },
      listen: { host: "127.0.0.1", port: 0 },
      config: "c.json",
      store: "memory",
      name: "n",
      verbosity: "verbose",
    },
  });
});

test("takes the options of the other commands", () => {
  expect(parse(["init", "--dry-run", "--host", "cursor", "--host", "vscode", "--server", "a"]).request).toEqual({
    kind: "init",
    request: { hosts: ["cursor", "vscode"], servers: ["a"], files: [], isDryRun: true },
  });
  expect(parse(["init", "--undo", "--file", "x"]).request).toEqual({
    kind: "undo",
    request: { hosts: [], servers: [], files: ["x"], isDryRun: false },
  });
  expect(parse(["doctor", "--json", "--config", "c"]).request).toEqual({
    kind: "doctor",
    request: { hosts: [], servers: [], files: [], config: "c", isJson: true },
  });
  expect(parse(["report", "--since", "1970-01-02"]).request).toEqual({
    kind: "report",
    request: { since: 86_400_000, isJson: false },
  });
});

test.each([
  [[], "say which server to run"],
  [["--"], "say which server to run"],
  [["--", ""], "say which server to run"],
  [["--url", "https://example.com", "--", "node"], "either a command or --url, not both"],
  [["--url", "nope"], "--url must be"],
  [["--url"], "--url"],
  [["--header", "A: 1", "--", "node"], "--header goes with --url only"],
  [["--header-env", "A=B", "--", "node"], "--header-env goes with --url only"],
  [["--listen", "x", "--", "node"], "--listen must be"],
  [["--quiet", "--verbose", "--", "node"], "either --quiet or --verbose"],
  [["--name", "", "--", "node"], "--name must not be empty"],
  [["--store", " ", "--", "node"], "--store must not be empty"],
  [["--nope", "--", "node"], "unknown option '--nope'"],
  [["init", "--host", "emacs"], "Allowed choices are claude-desktop, claude-code, cursor, vscode"],
  [["init", "--", "node"], "init takes no command after --"],
  [["init", "extra"], "too many arguments"],
  [["report", "--since", "x"], "--since must be"],
])("%j is refused as a mistake of usage", (args, message) => {
  const error = refusal(args);
  expect(error.message).toContain(message);
  expect(error.message).not.toContain("\n");
  expect(error.exitCode).toBe(2);
});

test("help and the version are told, and nothing is done", () => {
  expect(parse(["--version"])).toEqual({ request: { kind: "told" }, said: "1.2.3\n" });
  const { request, said } = parse(["--help"]);
  expect(request).toEqual({ kind: "told" });
  expect(said).toContain("--header-env");
  expect(said).toContain("Exit codes: 0 done");
  expect(parse(["init", "--help"]).said).toContain("--dry-run");
});
