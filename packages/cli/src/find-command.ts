import { constants } from "node:fs";
import { access, stat } from "node:fs/promises";
import { posix, win32 } from "node:path";
import type { Surroundings } from "./surroundings.js";

/** Whether the command of a server can be started, as far as that can be told from outside of its host. */
export type CommandFinding =
  | { readonly kind: "found"; readonly path: string }
  | { readonly kind: "missing" | "not-executable" }
  | { readonly kind: "unchecked"; readonly reason: string };

/** What a server is started with. */
export interface CommandQuestion {
  readonly command: string;
  /** The PATH that its configuration gives it. */
  readonly searchPath?: string | undefined;
}

type Machine = Pick<Surroundings, "platform" | "env" | "home">;

function variable({ platform, env }: Machine, name: string): string | undefined {
  if (platform !== "win32") return env[name];
  const key = Object.keys(env).find((each) => each.toUpperCase() === name);
  return key === undefined ? undefined : env[key];
}

/** On Windows `npx` is `npx.cmd`; a name that has an extension is taken as it is, too. */
function namesOf(machine: Machine, command: string): readonly string[] {
  if (machine.platform !== "win32") return [command];
  const extensions = (variable(machine, "PATHEXT") ?? ".COM;.EXE;.BAT;.CMD").split(";").filter((each) => each !== "");
  const hasOne = extensions.some((extension) => command.toLowerCase().endsWith(extension.toLowerCase()));
  return hasOne ? [command] : extensions.map((extension) => command + extension.toLowerCase());
}

async function look(path: string): Promise<"missing" | "found" | "not-executable"> {
  try {
    if (!(await stat(path)).isFile()) return "missing";
  } catch {
    return "missing";
  }
  try {
    await access(path, constants.X_OK);
    return "found";
  } catch {
    return "not-executable";
  }
}

async function firstOf(paths: readonly string[]): Promise<CommandFinding> {
  let isThere = false;
  for (const path of paths) {
    const found = await look(path);
    if (found === "found") return { kind: "found", path };
    if (found === "not-executable") isThere = true;
  }
  return { kind: isThere ? "not-executable" : "missing" };
}

/** Looks for a command as the operating system would. */
export async function findCommand(machine: Machine, { command, searchPath }: CommandQuestion): Promise<CommandFinding> {
  const path = machine.platform === "win32" ? win32 : posix;
  if (command.includes("${")) return { kind: "unchecked", reason: "the host fills it in" };
  const names = namesOf(machine, command);
  if (path.isAbsolute(command)) return firstOf(names);
  if (/[\\/]/.test(machine.platform === "win32" ? command : command.replaceAll("\\", ""))) {
    return { kind: "unchecked", reason: "it is relative to the folder in which the host starts it" };
  }
  const folders = (searchPath ?? variable(machine, "PATH") ?? "").split(path.delimiter).filter((each) => each !== "");
  return firstOf(folders.flatMap((folder) => names.map((name) => path.join(folder, name))));
}
