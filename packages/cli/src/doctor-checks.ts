import { mkdirSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { sqliteStore } from "@mcp-tx/sqlite";
import { sourceOf as sourceOfConfig } from "mcp-tx/config";
import { sayError } from "./exit-codes.js";
import { type CommandFinding, findCommand } from "./find-command.js";
import { reasonToSkip } from "./init.js";
import { memberOf, stringOf } from "./jsonc.js";
import { readServeConfig } from "./serve-config.js";
import type { ServerEntry } from "./server-entry.js";
import type { Surroundings } from "./surroundings.js";
import { NPX } from "./wrapped-command.js";

/** One thing that was looked at. */
export interface Check {
  /** `broken`: it does not work; `notice`: it works, and there is something to know. */
  readonly status: "ok" | "notice" | "broken";
  readonly subject: string;
  readonly detail: string;
  /** What to do about it. */
  readonly advice?: string | undefined;
}

const MIN_NODE = [20, 19] as const;

/** Whether this Node is new enough. */
export function checkNode(version: string): Check {
  const [major = 0, minor = 0] = version.replace(/^v/, "").split(".").map(Number);
  const isEnough = major > MIN_NODE[0] || (major === MIN_NODE[0] && minor >= MIN_NODE[1]);
  const advice = isEnough ? undefined : `install Node ${MIN_NODE.join(".")} or later`;
  return { status: isEnough ? "ok" : "broken", subject: "Node", detail: version, advice };
}

/** Whether records can be kept: opens a store beside the real ones, and removes it. */
export async function checkStore({ stateFolder }: Surroundings): Promise<Check> {
  // By its documentation this is the module of that name, or undefined where there is none.
  const driver = process.getBuiltinModule?.("node:sqlite") === undefined ? "libsql" : "node:sqlite";
  try {
    mkdirSync(stateFolder, { recursive: true, mode: 0o700 });
    const folder = await mkdtemp(join(stateFolder, "doctor-"));
    try {
      await sqliteStore({ path: join(folder, "probe.db") }).close();
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
    return { status: "ok", subject: "store", detail: `${driver}, in ${stateFolder}` };
  } catch (error) {
    const advice = "make the folder writable, or use --store <path> or --store memory";
    return { status: "broken", subject: "store", detail: `${stateFolder}: ${sayError(error)}`, advice };
  }
}

/** Whether the configuration of the proxy can be used. */
export async function checkConfig(where: Surroundings, file: string | undefined): Promise<Check> {
  const subject = "configuration";
  try {
    const source = sourceOfConfig(await readServeConfig(where, file));
    const parts = [source?.file, ...(source?.variables ?? [])].filter((part) => part !== undefined);
    return {
      status: "ok",
      subject,
      detail: parts.length === 0 ? "none: everything is at its default" : parts.join(", "),
    };
  } catch (error) {
    return {
      status: "broken",
      subject,
      detail: sayError(error),
      advice: "correct it; until then no proxy starts with it",
    };
  }
}

/** What a finding means for people; `undefined` if nothing is wrong. */
function trouble(command: string, finding: CommandFinding): Pick<Check, "detail" | "advice"> | undefined {
  const advice = "install it, or write its full path; hosts started from a desktop may have another PATH than a shell";
  if (finding.kind === "missing")
    return { detail: `the command ${JSON.stringify(command)} is not on the PATH`, advice };
  if (finding.kind === "not-executable") {
    return { detail: `the command ${JSON.stringify(command)} is there and cannot be executed`, advice: "chmod +x" };
  }
  return undefined;
}

/** Commands that must be there for an entry to start. */
function commandsOf({ state, parts }: ServerEntry): readonly string[] {
  if (state.kind === "command") return [state.command];
  if (state.kind !== "wrapped") return [];
  const outer = stringOf(parts.command?.value) ?? "";
  const inner = state.target === "unreadable" || state.target.kind === "url" ? [] : [state.target.command];
  return [outer, ...inner];
}

function stateInWords(entry: ServerEntry): string {
  const { state } = entry;
  if (state.kind === "wrapped") return "goes through the proxy";
  const reason = reasonToSkip(entry, NPX, false);
  return reason === undefined ? "does not go through the proxy" : `does not go through the proxy: ${reason}`;
}

/** Whether a server of a host can start, and whether the proxy is before it. */
export async function checkServer(where: Surroundings, text: string, entry: ServerEntry): Promise<Check> {
  const subject = entry.path.map((key) => JSON.stringify(key)).join(" > ");
  if (entry.state.kind === "wrapped" && entry.state.target === "unreadable") {
    const detail = "starts the proxy without saying for which server";
    return { status: "broken", subject, detail, advice: "put -- and the server's command behind it, or --url <url>" };
  }
  const searchPath = stringOf(memberOf(text, entry.parts.env?.value, "PATH")?.value);
  for (const command of commandsOf(entry)) {
    const wrong = trouble(command, await findCommand(where, { command, searchPath }));
    if (wrong !== undefined) return { status: "broken", subject, ...wrong };
  }
  return { status: "ok", subject, detail: stateInWords(entry) };
}
