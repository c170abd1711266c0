import { type ConfigFile, replaceConfigFile } from "./config-file.js";
import { entryDiff } from "./entry-diff.js";
import { CliError, EXIT_CODES, sayError } from "./exit-codes.js";
import type { Location } from "./host-locations.js";
import { type Found, findFiles, isNamed, type Selection } from "./init-selection.js";
import { nextRecord, type Rewrite, wrapServers } from "./rewrite.js";
import { type ServerEntry, serverEntries } from "./server-entry.js";
import type { Output, Surroundings } from "./surroundings.js";
import { readUndoRecord, writeUndoRecord } from "./undo-record.js";
import { isSafeFor, type Launcher, NPX, NPX_BY_CMD } from "./wrapped-command.js";

/** What `init` is asked to do. */
export interface InitRequest extends Selection {
  /** Shows what would be done, and does nothing. */
  readonly isDryRun: boolean;
}

/** A file that could be read, with its servers. */
export interface OpenFile {
  readonly location: Location;
  readonly file: ConfigFile;
  readonly entries: readonly ServerEntry[];
}

/** What was done to one file. */
export type FileStep = (open: OpenFile) => Promise<void>;

/** Of the hosts that start servers on Windows, one says of itself that it needs this. */
export function launcherOf({ platform }: Surroundings, { host }: Location): Launcher {
  return platform === "win32" && host === "claude-code" ? NPX_BY_CMD : NPX;
}

/** Why an entry is left alone; `undefined` for one that is to be wrapped. */
export function reasonToSkip(entry: ServerEntry, launcher: Launcher, isAskedFor: boolean): string | undefined {
  const { state } = entry;
  if (state.kind === "foreign") return state.reason;
  if (state.kind === "wrapped") return "wrapped already";
  const words = state.kind === "command" ? [state.command, ...state.args] : [state.url, ...state.headers];
  if (!isSafeFor(launcher, words)) return "the command processor of Windows would read its arguments as something else";
  if (state.kind === "command" || isAskedFor || isOpenToProxies(state)) return undefined;
  return `it may ask for a sign-in, which only the host can do; if it does not: --server ${entry.name}`;
}

/** A server on this machine, or one whose key is in the configuration. */
function isOpenToProxies({
  url,
  headers,
  isSignedIn,
}: Extract<ServerEntry["state"], { readonly kind: "url" }>): boolean {
  if (isSignedIn) return false;
  return headers.length > 0 || /^https?:\/\/(?:localhost|127\.\d+\.\d+\.\d+|\[::1\])(?=[:/]|$)/i.test(url);
}

/** `VS Code: ~/…/mcp.json`. */
export function headingOf({ title, path }: Location): string {
  return `${title}: ${path}`;
}

/**
 * Goes through the files, and goes on after one that fails.
 *
 * @returns the exit code
 * @throws CliError when there is nothing to go through
 */
export async function eachFile(
  selection: Selection,
  where: Surroundings,
  output: Output,
  step: FileStep,
): Promise<number> {
  const found = await findFiles(where, selection);
  if (found.length === 0) throw new CliError("No configuration of a known host was found; name one with --file <path>");
  const opened: OpenFile[] = [];
  let failures = 0;
  const attempt = async (title: string, work: () => Promise<void> | void): Promise<void> => {
    try {
      await work();
    } catch (error) {
      failures += 1;
      output.err(`${title}: ${sayError(error)}`);
    }
  };
  for (const each of found) await attempt(headingOf(each.location), () => void opened.push(openFile(each)));
  checkNames(selection, opened);
  for (const open of opened) await attempt(headingOf(open.location), () => step(open));
  return failures === 0 ? EXIT_CODES.ok : EXIT_CODES.failed;
}

function openFile(found: Found): OpenFile {
  if ("failure" in found) throw new CliError(found.failure);
  return { ...found, entries: serverEntries(found.file.text, found.location.shape) };
}

function checkNames({ servers }: Selection, opened: readonly OpenFile[]): void {
  const known = new Set(opened.flatMap(({ entries }) => entries.map(({ name }) => name)));
  const unknown = servers.filter((name) => !known.has(name));
  if (unknown.length === 0) return;
  const list = known.size === 0 ? "there are none" : `there are ${[...known].sort().join(", ")}`;
  throw new CliError(`--server: no server is called ${unknown.join(", ")}; ${list}`);
}

/** Wraps the servers of one file. */
async function wrapFile(request: InitRequest, where: Surroundings, output: Output, open: OpenFile): Promise<boolean> {
  const { location, file, entries } = open;
  const chosen = entries.filter((entry) => isNamed(request, entry));
  const launcher = launcherOf(where, location);
  const skips = new Map(chosen.map((entry) => [entry, reasonToSkip(entry, launcher, request.servers.length > 0)]));
  const toWrap = new Set(chosen.filter((entry) => skips.get(entry) === undefined).map(pathOf));
  const rewrite = wrapServers(file.text, location.shape, (entry) => toWrap.has(pathOf(entry)), launcher);
  if (rewrite.changed.length > 0 && !request.isDryRun) await save(where, open, rewrite);
  output.out(headingOf(location));
  const verb = request.isDryRun ? "would wrap" : "wrapped";
  for (const { path } of rewrite.changed) output.out(`  ${verb} ${path.at(-1)}`);
  for (const [{ name }, reason] of skips) if (reason !== undefined) output.out(`  left alone ${name}: ${reason}`);
  if (chosen.length === 0) output.out("  no servers");
  for (const { name } of chosen.filter((entry) => toWrap.has(pathOf(entry)) && startsByFullPath(entry))) {
    output.out(
      `  note: ${name} was started by a full path; if the host does not find npx, write its full path as well`,
    );
  }
  if (request.isDryRun) for (const line of rewrite.changed.flatMap(entryDiff)) output.out(`  ${line}`);
  return rewrite.changed.length > 0;
}

function startsByFullPath({ state }: ServerEntry): boolean {
  return state.kind === "command" && /^(?:\/|[a-z]:[\\/])/i.test(state.command);
}

function pathOf({ path }: ServerEntry): string {
  return JSON.stringify(path);
}

async function save(where: Surroundings, { location, file }: OpenFile, rewrite: Rewrite): Promise<void> {
  const earlier = await readUndoRecord(where, file);
  // First: whatever happens after it, the way back is known.
  await writeUndoRecord(where, file, nextRecord(location.path, file.text, rewrite, location.shape, earlier));
  await replaceConfigFile(file, rewrite.text);
}

/**
 * Puts the proxy before the servers in the configurations of hosts.
 *
 * @returns the exit code
 * @throws CliError when there is nothing to do it to
 */
export async function init(request: InitRequest, where: Surroundings, output: Output): Promise<number> {
  let isChanged = false;
  const code = await eachFile(request, where, output, async (open) => {
    if (await wrapFile(request, where, output, open)) isChanged = true;
  });
  if (isChanged && !request.isDryRun) {
    output.out("Restart the host to use it; `npx @mcp-tx/cli init --undo` takes it back.");
  }
  return code;
}
