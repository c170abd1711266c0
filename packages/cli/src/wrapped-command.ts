/** How a host starts a server through this package. */

export const PACKAGE = "@mcp-tx/cli";
/** What a host starts, and its first arguments. */
export interface Launcher {
  readonly command: string;
  readonly args: readonly string[];
}

/** npx is there wherever Node is. */
export const NPX: Launcher = { command: "npx", args: [] };
/** On Windows npx is a script, which some hosts leave to the command processor. */
export const NPX_BY_CMD: Launcher = { command: "cmd", args: ["/c", "npx"] };

/** What the command processor would take for its own. */
const CMD_SYNTAX = /["%&()<>^|!]/;

/** What the proxy of a server is started with. */
export type WrappedTarget =
  | { readonly kind: "command"; readonly command: string; readonly args: readonly string[] }
  | {
      readonly kind: "url";
      readonly url: string;
      /** Names of headers, and the environment variables that hold their values. */
      readonly headers: readonly (readonly [header: string, variable: string])[];
    };

/** A name that no host expands and no option parser takes for an option. */
const PLAIN_NAME = /^[\p{L}\p{N}_][\p{L}\p{N}_.@ /-]*$/u;

function nameArguments(name: string): readonly string[] {
  return PLAIN_NAME.test(name) ? ["--name", name] : [];
}

/** Whether a launcher hands arguments on as they are. */
export function isSafeFor({ command }: Launcher, args: readonly string[]): boolean {
  return command !== NPX_BY_CMD.command || !args.some((argument) => CMD_SYNTAX.test(argument));
}

/** The arguments of a launcher, up to those of the wrapped command itself, which follow. */
export function launcherArguments({ args }: Launcher, name: string, target: WrappedTarget): readonly string[] {
  const start = [...args, "-y", PACKAGE, ...nameArguments(name)];
  if (target.kind === "command") return [...start, "--", target.command];
  const headers = target.headers.flatMap(([header, variable]) => ["--header-env", `${header}=${variable}`]);
  return [...start, "--url", target.url, ...headers];
}

function isOurPackage(argument: string): boolean {
  return argument === PACKAGE || argument.startsWith(`${PACKAGE}@`);
}

/** `C:\\bin\\mcp-tx.cmd` is `mcp-tx`. */
function programOf(command: string): string {
  const file = command.split(/[\\/]/).at(-1) ?? "";
  return file.replace(/\.(?:cmd|exe|ps1|bat)$/i, "").toLowerCase();
}

const OUR_FILE = /@mcp-tx[\\/]cli[\\/]dist[\\/]main\.js$/;

/** The place of the first argument that is the proxy's own; `undefined` where nothing starts it. */
function ownArgumentsFrom(command: string, args: readonly string[]): number | undefined {
  if (programOf(command) === "mcp-tx") return 0;
  const end = args.indexOf("--");
  const before = end < 0 ? args : args.slice(0, end);
  const found = before.findIndex((argument) => isOurPackage(argument) || OUR_FILE.test(argument));
  return found < 0 ? undefined : found + 1;
}

function optionValues(args: readonly string[], option: string): readonly string[] {
  return args.flatMap((argument, index) => {
    if (argument.startsWith(`${option}=`)) return [argument.slice(option.length + 1)];
    const value = args[index + 1];
    return argument === option && value !== undefined ? [value] : [];
  });
}

function headerVariables(args: readonly string[]): readonly (readonly [string, string])[] {
  return optionValues(args, "--header-env").flatMap((pair) => {
    const at = pair.indexOf("=");
    return at < 1 ? [] : [[pair.slice(0, at), pair.slice(at + 1)] as const];
  });
}

/**
 * Reads what a command line wraps.
 *
 * @returns `undefined` when it does not start the proxy; `"unreadable"` when it does and cannot be taken apart
 */
export function wrappedTarget(command: string, args: readonly string[]): WrappedTarget | "unreadable" | undefined {
  const from = ownArgumentsFrom(command, args);
  if (from === undefined) return undefined;
  const own = args.slice(from);
  const end = own.indexOf("--");
  if (end >= 0) {
    const [inner, ...rest] = own.slice(end + 1);
    return inner === undefined ? "unreadable" : { kind: "command", command: inner, args: rest };
  }
  const [url] = optionValues(own, "--url");
  return url === undefined ? "unreadable" : { kind: "url", url, headers: headerVariables(own) };
}
