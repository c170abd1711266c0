import { readdir } from "node:fs/promises";
import { posix, win32 } from "node:path";
import type { Shape } from "./server-entry.js";
import type { Surroundings } from "./surroundings.js";

/** The hosts whose configurations are known. */
export const HOSTS = ["claude-desktop", "claude-code", "cursor", "vscode"] as const;
export type HostName = (typeof HOSTS)[number];

/** A file in which a host looks for servers, whether it is there or not. */
export interface Location {
  readonly host: HostName | "file";
  /** For people: `Claude Code (project)`. */
  readonly title: string;
  readonly path: string;
  readonly shape: Shape;
}

type Join = (...parts: readonly string[]) => string;
const MCP_SERVERS: Shape = { serversKey: "mcpServers" };
const SERVERS: Shape = { serversKey: "servers" };

function joinOf({ platform }: Surroundings): Join {
  return platform === "win32" ? win32.join : posix.join;
}

/** Where applications keep what a user configures. */
function applicationFolder(where: Surroundings): string {
  const join = joinOf(where);
  const { platform, env, home } = where;
  if (platform === "darwin") return join(home, "Library", "Application Support");
  if (platform === "win32") return env["APPDATA"] || join(home, "AppData", "Roaming");
  return env["XDG_CONFIG_HOME"] || join(home, ".config");
}

function claudeDesktop(where: Surroundings): readonly Location[] {
  const path = joinOf(where)(applicationFolder(where), "Claude", "claude_desktop_config.json");
  return [{ host: "claude-desktop", title: "Claude Desktop", path, shape: MCP_SERVERS }];
}

function claudeCode(where: Surroundings): readonly Location[] {
  const join = joinOf(where);
  const own = join(where.env["CLAUDE_CONFIG_DIR"] || where.home, ".claude.json");
  return [
    {
      host: "claude-code",
      title: "Claude Code",
      path: own,
      shape: { ...MCP_SERVERS, hasProjects: true },
    },
    { host: "claude-code", title: "Claude Code (project)", path: join(where.cwd, ".mcp.json"), shape: MCP_SERVERS },
  ];
}

function cursor(where: Surroundings): readonly Location[] {
  const join = joinOf(where);
  const user = join(where.home, ".cursor", "mcp.json");
  const project = join(where.cwd, ".cursor", "mcp.json");
  const locations: Location[] = [{ host: "cursor", title: "Cursor", path: user, shape: MCP_SERVERS }];
  // In the home folder both are the same file.
  if (project !== user) {
    locations.push({ host: "cursor", title: "Cursor (project)", path: project, shape: MCP_SERVERS });
  }
  return locations;
}

async function profilesBelow(folder: string, join: Join): Promise<readonly string[]> {
  try {
    return (await readdir(join(folder, "profiles"))).sort().map((name) => join(folder, "profiles", name));
  } catch {
    return [];
  }
}

async function vscode(where: Surroundings): Promise<readonly Location[]> {
  const join = joinOf(where);
  const users = ["Code", "Code - Insiders"].map((name) => join(applicationFolder(where), name, "User"));
  const profiles = await Promise.all(users.map((folder) => profilesBelow(folder, join)));
  const at = (title: string, folder: string): Location => ({
    host: "vscode",
    title,
    path: join(folder, "mcp.json"),
    shape: SERVERS,
  });
  return [
    ...users.map((folder) => at("VS Code", folder)),
    ...profiles.flat().map((folder) => at("VS Code (profile)", folder)),
    at("VS Code (workspace)", join(where.cwd, ".vscode")),
  ];
}

const LOCATIONS: {
  readonly [H in HostName]: (where: Surroundings) => readonly Location[] | Promise<readonly Location[]>;
} = {
  "claude-desktop": claudeDesktop,
  "claude-code": claudeCode,
  cursor,
  vscode,
};

/** The files of some hosts, in the order of {@link HOSTS}. */
export async function hostLocations(
  where: Surroundings,
  hosts: readonly HostName[] = HOSTS,
): Promise<readonly Location[]> {
  const wanted = HOSTS.filter((host) => hosts.includes(host));
  return (await Promise.all(wanted.map((host) => LOCATIONS[host](where)))).flat();
}
