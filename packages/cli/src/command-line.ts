import { Command, CommanderError, Option } from "commander";
import { type CliError, EXIT_CODES, usageError } from "./exit-codes.js";
import { parseHeader, parseHeaderEnv, parseListen, parseServerUrl, parseSince } from "./flags.js";
import { HOSTS, type HostName } from "./host-locations.js";
import type { InitRequest } from "./init.js";
import type { Selection } from "./init-selection.js";
import type { ReportRequest } from "./report.js";
import type { ServeRequest } from "./serve.js";
import type { Target } from "./server-identity.js";

/** What a command line asks for. */
export type Request =
  | { readonly kind: "serve"; readonly request: ServeRequest }
  | { readonly kind: "init" | "undo"; readonly request: InitRequest }
  | { readonly kind: "doctor"; readonly request: DoctorRequest }
  | { readonly kind: "report"; readonly request: ReportRequest }
  /** Help or the version was asked for, and given. */
  | { readonly kind: "told" };

/** What `doctor` is asked for. */
export interface DoctorRequest extends Selection {
  readonly config?: string | undefined;
  readonly isJson: boolean;
}

/** What a command line may refer to. */
export interface CommandLineContext {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly version: string;
  readonly now: number;
  readonly write: (text: string) => void;
}

interface ServeFlags {
  readonly url?: string;
  readonly header: readonly string[];
  readonly headerEnv: readonly string[];
  readonly listen?: string;
  readonly config?: string;
  readonly store?: string;
  readonly name?: string;
  readonly quiet?: boolean;
  readonly verbose?: boolean;
}

interface SelectionFlags {
  readonly host: readonly HostName[];
  readonly server: readonly string[];
  readonly file: readonly string[];
}

interface InitFlags extends SelectionFlags {
  readonly dryRun?: boolean;
  readonly undo?: boolean;
}

const EXAMPLES = `
Examples:
  npx @mcp-tx/cli -- node server.js            put the proxy before a server that is a command
  npx @mcp-tx/cli --url https://example.com/mcp   ... or one that is reached over HTTP
  npx @mcp-tx/cli init --dry-run               show what would change in the configurations of hosts
  npx @mcp-tx/cli report --since 24h           tell what was retried, deduplicated, refused

Exit codes: 0 done; 1 failed; 2 wrong command line; 69 server unavailable; 76 not the protocol; 78 unusable configuration or
store; 126, 127 the server's command cannot be run, does not exist; 130, 143 ended by SIGINT, SIGTERM.`;

const collect = (value: string, previous: readonly string[]): readonly string[] => [...previous, value];

function listOption(flags: string, description: string): Option {
  return new Option(flags, description).argParser(collect).default([], "none");
}

function hostOption(): Option {
  const one = new Option("--host <name>", "only this host; may be repeated").choices(HOSTS);
  const parse = one.parseArg;
  return one
    .argParser((value: string, previous: readonly string[]) => {
      parse?.(value, undefined);
      return collect(value, previous);
    })
    .default([], "all");
}

function addSelection(command: Command): Command {
  return command
    .addOption(hostOption())
    .addOption(listOption("--server <name>", "only the server of this name; may be repeated"))
    .addOption(listOption("--file <path>", "this file in the place of those of hosts; may be repeated"));
}

function selectionOf({ host, server, file }: SelectionFlags): Selection {
  return { hosts: host, servers: server, files: file };
}

/** Quiet until somebody reads the message of what is thrown. */
function silent(command: Command, write: (text: string) => void): Command {
  return command.exitOverride().configureOutput({ writeOut: write, writeErr: () => undefined });
}

function targetOf(flags: ServeFlags, words: readonly string[], { env }: CommandLineContext): Target {
  const [command, ...args] = words;
  if (flags.url !== undefined && command !== undefined) {
    throw usageError(`give either a command or --url, not both; got the command ${JSON.stringify(command)}`);
  }
  if (flags.url !== undefined) {
    const headers = [...flags.header.map(parseHeader), ...flags.headerEnv.map((text) => parseHeaderEnv(text, env))];
    return { url: parseServerUrl(flags.url), headers: Object.fromEntries(headers) };
  }
  const headerOption = flags.header.length > 0 ? "--header" : "--header-env";
  if (flags.header.length + flags.headerEnv.length > 0) throw usageError(`${headerOption} goes with --url only`);
  if (command === undefined || command === "") {
    throw usageError("say which server to run: mcp-tx -- <command> [args], or --url <url>; --help tells more");
  }
  return { command, args };
}

function serveRequest(flags: ServeFlags, words: readonly string[], context: CommandLineContext): ServeRequest {
  const target = targetOf(flags, words, context);
  if (flags.quiet === true && flags.verbose === true) throw usageError("give either --quiet or --verbose, not both");
  for (const option of ["name", "store", "config"] as const) {
    if (flags[option]?.trim() === "") throw usageError(`--${option} must not be empty`);
  }
  const verbosity = flags.quiet === true ? "quiet" : flags.verbose === true ? "verbose" : "normal";
  return {
    target,
    listen: flags.listen === undefined ? undefined : parseListen(flags.listen),
    config: flags.config,
    store: flags.store,
    name: flags.name,
    verbosity,
  };
}

type Decide = (request: Request) => void;

function addServe(program: Command, context: CommandLineContext, rest: readonly string[], decide: Decide): void {
  program
    .argument("[command...]", "the server's command and its arguments, after --")
    .option("--url <url>", "a server that is reached over Streamable HTTP, instead of a command")
    .addOption(listOption("--header <header>", 'sent with each request to --url: "Name: value"; may be repeated'))
    .addOption(listOption("--header-env <pair>", "the same, Name=VARIABLE, the value being that of the variable"))
    .option("--listen <[host:]port>", "expose the server over Streamable HTTP, not over stdio; on loopback by default")
    .option("--config <file>", "how calls are made reliable, JSON or YAML")
    .option("--store <path>", 'where records of calls are kept; "memory" forgets them at exit')
    .option("--name <name>", "what the server is called; tells apart servers of one command")
    .option("-q, --quiet", "say nothing on stderr but why it failed")
    .option("--verbose", "say on stderr what becomes of each call")
    .action((operands: readonly string[], flags: ServeFlags) => {
      // A package manager may have taken the first `--` for its own: then this one belongs to the server's command.
      const words = operands.length > 0 && rest.length > 0 ? [...operands, "--", ...rest] : [...operands, ...rest];
      decide({ kind: "serve", request: serveRequest(flags, words, context) });
    });
}

function addCommands(program: Command, context: CommandLineContext, decide: Decide): void {
  const init = program.command("init").description("put the proxy before the servers in the configurations of hosts");
  addSelection(init)
    .option("--dry-run", "show what would change, and change nothing")
    .option("--undo", "take the proxy away again")
    .action(({ dryRun, undo, ...flags }: InitFlags) => {
      const request = { ...selectionOf(flags), isDryRun: dryRun === true };
      decide({ kind: undo === true ? "undo" : "init", request });
    });
  const doctor = program.command("doctor").description("tell what is found on this machine, and what is broken");
  addSelection(doctor)
    .option("--config <file>", "check this configuration")
    .option("--json", "as JSON")
    .action(({ config, json, ...flags }: SelectionFlags & { config?: string; json?: boolean }) => {
      decide({ kind: "doctor", request: { ...selectionOf(flags), config, isJson: json === true } });
    });
  program
    .command("report")
    .description("tell what became of the calls of all proxies on this machine")
    .option("--since <time>", "only calls since then: 90m, 24h, 7d or a date")
    .option("--json", "as JSON")
    .action(({ since, json }: { since?: string; json?: boolean }) => {
      const from = since === undefined ? 0 : parseSince(since, context.now);
      decide({ kind: "report", request: { since: from, isJson: json === true } });
    });
  for (const command of program.commands) silent(command, context.write);
}

const TOLD: Request = { kind: "told" };

/** What commander has to say, in our words: without its prefix, and without the suggestion's line of its own. */
function asCliError({ message }: CommanderError): CliError {
  const said = message
    .replace(/^error: /, "")
    .replaceAll(/\s*\n\s*/g, " ")
    .replace(/\.$/, "");
  return usageError(`${said}; --help tells more`);
}

/**
 * Reads a command line, without the name of the program.
 *
 * @throws CliError naming the option and what to do
 */
export function parseCommandLine(args: readonly string[], context: CommandLineContext): Request {
  const decisions: Request[] = [];
  const decide = (request: Request): void => void decisions.push(request);
  const end = args.indexOf("--");
  // What follows is a command, also where it is called like one of ours: `-- init`.
  const own = end < 0 ? args : args.slice(0, end);
  const rest = end < 0 ? [] : args.slice(end + 1);
  const program = new Command("mcp-tx")
    .description("Makes the tools of any Model Context Protocol server reliable, for any host")
    .usage("[options] -- <command> [args...]")
    .version(context.version)
    .enablePositionalOptions()
    .passThroughOptions()
    .addHelpText("after", EXAMPLES);
  silent(program, context.write);
  addServe(program, context, rest, decide);
  addCommands(program, context, decide);
  try {
    program.parse(own, { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === EXIT_CODES.ok) return TOLD;
    throw asCliError(error);
  }
  const [decided = TOLD] = decisions;
  if (decided.kind !== "serve" && rest.length > 0) throw usageError(`${own[0]} takes no command after --`);
  return decided;
}
