import { createHash } from "node:crypto";
import { basename } from "node:path";
import { maskArgument } from "./masking.js";

/** The server of a command line. */
export type Target =
  | { readonly command: string; readonly args: readonly string[] }
  | { readonly url: URL; readonly headers: Readonly<Record<string, string>> };

/** Who a server is, from one start of the proxy to the next. */
export interface ServerIdentity {
  /** Of letters and digits. Two servers never have the same. */
  readonly id: string;
  /** For people. */
  readonly label: string;
}

/** What is started through another program is known by its own name. */
const LAUNCHERS: readonly string[] = [
  "npx",
  "bunx",
  "pnpx",
  "uvx",
  "uv",
  "node",
  "bun",
  "deno",
  "tsx",
  "python",
  "python3",
];
const isVerb = (argument: string): boolean => /^(?:run|exec|dlx|x)$/.test(argument);

function labelOf(target: Target): string {
  if ("url" in target) return target.url.host;
  const program = basename(target.command.replaceAll("\\", "/")).replace(/\.(?:exe|cmd|bat)$/i, "");
  if (!LAUNCHERS.includes(program)) return program;
  const script = target.args.find((argument) => !argument.startsWith("-") && !isVerb(argument));
  if (script === undefined) return program;
  const name = script.startsWith("@") ? script : basename(script.replaceAll("\\", "/"));
  return maskArgument(name, undefined);
}

/**
 * Tells servers apart, so that none gets the answers of another: by what is started and where, or by address and credentials. A
 * server that is another one after a change of its environment alone needs a name of its own.
 */
export function serverIdentity(target: Target, cwd: string, name: string | undefined): ServerIdentity {
  const parts =
    "url" in target
      ? ["url", target.url.href, name ?? null, Object.entries(target.headers).sort()]
      : ["command", target.command, target.args, cwd, name ?? null];
  const id = createHash("sha256").update(JSON.stringify(parts)).digest("hex").slice(0, 32);
  return { id, label: name ?? labelOf(target) };
}
