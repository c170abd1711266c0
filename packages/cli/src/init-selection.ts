import { resolve } from "node:path";
import { type ConfigFile, readConfigFile } from "./config-file.js";
import { CliError, sayError } from "./exit-codes.js";
import { type HostName, hostLocations, type Location } from "./host-locations.js";
import { memberOf, parseJsonc } from "./jsonc.js";
import type { ServerEntry } from "./server-entry.js";
import type { Surroundings } from "./surroundings.js";

/** What `init` and `doctor` are asked to look at. */
export interface Selection {
  /** All known ones if empty. */
  readonly hosts: readonly HostName[];
  /** Names; all if empty. */
  readonly servers: readonly string[];
  /** Files in the place of those that hosts have. */
  readonly files: readonly string[];
}

/** A file that is there; reading it may have failed. */
export type Found =
  | { readonly location: Location; readonly file: ConfigFile }
  | { readonly location: Location; readonly failure: string };

/** A file of unknown origin: `servers` is VS Code's key, every other host has `mcpServers`. */
function locationOf(path: string, text: string): Location {
  let isForVsCode = false;
  try {
    const root = parseJsonc(text);
    isForVsCode = memberOf(text, root, "mcpServers") === undefined && memberOf(text, root, "servers") !== undefined;
  } catch {
    // Whoever reads it for its servers says what is wrong.
  }
  return {
    host: "file",
    title: "File",
    path,
    shape: isForVsCode ? { serversKey: "servers" } : { serversKey: "mcpServers", hasProjects: true },
  };
}

async function foundAt(location: Location): Promise<readonly Found[]> {
  try {
    const file = await readConfigFile(location.path);
    return file === undefined ? [] : [{ location, file }];
  } catch (error) {
    return [{ location, failure: sayError(error) }];
  }
}

async function givenFile(where: Surroundings, name: string): Promise<Found> {
  const path = resolve(where.cwd, name);
  const file = await readConfigFile(path);
  if (file === undefined) throw new CliError(`--file: ${path} does not exist`);
  return { location: locationOf(path, file.text), file };
}

/**
 * The files that are there. Two names of one file are one file.
 *
 * @throws CliError for a file that was asked for by name and cannot be read
 */
export async function findFiles(where: Surroundings, { hosts, files }: Selection): Promise<readonly Found[]> {
  if (files.length > 0) return Promise.all(files.map((name) => givenFile(where, name)));
  const locations = await hostLocations(where, hosts.length === 0 ? undefined : hosts);
  const found = (await Promise.all(locations.map(foundAt))).flat();
  const seen = new Set<string>();
  return found.filter((each) => {
    const path = "file" in each ? each.file.realPath : each.location.path;
    const isNew = !seen.has(path);
    seen.add(path);
    return isNew;
  });
}

/** Whether a server is meant by name; without names all are. */
export function isNamed({ servers }: Selection, { name }: ServerEntry): boolean {
  return servers.length === 0 || servers.includes(name);
}
