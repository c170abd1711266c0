import type { Node } from "jsonc-parser";
import {
  JsoncError,
  type Member,
  memberOf,
  membersOf,
  namedMembers,
  parseJsonc,
  positionAt,
  stringOf,
  stringsOf,
} from "./jsonc.js";
import { type WrappedTarget, wrappedTarget } from "./wrapped-command.js";

/** The parts of an entry that matter here; other keys are not looked at. */
export interface EntryParts {
  readonly command?: Member | undefined;
  readonly args?: Member | undefined;
  readonly url?: Member | undefined;
  readonly type?: Member | undefined;
  readonly headers?: Member | undefined;
  readonly env?: Member | undefined;
}

/** What an entry is. */
export type EntryState =
  | { readonly kind: "command"; readonly command: string; readonly args: readonly string[] }
  | { readonly kind: "url"; readonly url: string; readonly headers: readonly string[]; readonly isSignedIn: boolean }
  | { readonly kind: "wrapped"; readonly target: WrappedTarget | "unreadable" }
  | { readonly kind: "foreign"; readonly reason: string };

/** A server in the configuration of a host. */
export interface ServerEntry {
  readonly name: string;
  /** Keys from the root to the entry. */
  readonly path: readonly string[];
  readonly key: Node;
  readonly node: Node;
  readonly parts: EntryParts;
  readonly state: EntryState;
}

/** Where servers stand in a configuration: under this key, and in Claude Code's own file also in each of its projects. */
export interface Shape {
  readonly serversKey: "mcpServers" | "servers";
  readonly hasProjects?: boolean | undefined;
}

const HTTP_TYPES: readonly (string | undefined)[] = ["http", "streamable-http", "streamableHttp", "streamable_http"];

function foreign(reason: string): EntryState {
  return { kind: "foreign", reason };
}

function commandState({ args }: EntryParts, command: string): EntryState {
  const isAbsent = args === undefined || args.value.type === "null";
  const given = isAbsent ? [] : stringsOf(args.value);
  if (given === undefined) return foreign("its args are no list of strings");
  const target = wrappedTarget(command, given);
  return target === undefined ? { kind: "command", command, args: given } : { kind: "wrapped", target };
}

function hasCredentials(url: string): boolean {
  try {
    const { username, password } = new URL(url);
    return username !== "" || password !== "";
  } catch {
    return false;
  }
}

function urlState({ type, headers, env, args }: EntryParts, url: string, signIn: boolean): EntryState {
  const kind = stringOf(type?.value);
  if (kind === "sse") return foreign("it speaks the older HTTP+SSE transport, not Streamable HTTP");
  if (type !== undefined && !HTTP_TYPES.includes(kind)) return foreign(`its type is ${JSON.stringify(kind ?? null)}`);
  if (!/^https?:/i.test(url) && !url.includes("${")) return foreign("its url is no http(s) url");
  if (hasCredentials(url)) return foreign("its url holds a user name or password; send them as a header");
  if (env !== undefined && headers !== undefined) return foreign("it has both headers and env");
  if (args !== undefined) return foreign("it has both a url and args");
  const named = membersOf(headers?.value);
  if (headers !== undefined && headers.value.type !== "object") return foreign("its headers are no object");
  if (named.some(({ value }) => value.type !== "string")) return foreign("one of its headers is no string");
  return { kind: "url", url, headers: named.map(({ name }) => name), isSignedIn: signIn };
}

function stateOf(text: string, node: Node, parts: EntryParts): EntryState {
  if (node.type !== "object") return foreign("it is no object");
  const command = stringOf(parts.command?.value);
  if (command !== undefined && command !== "") return commandState(parts, command);
  if (parts.command !== undefined) return foreign("its command is no text");
  const url = stringOf(parts.url?.value);
  if (url === undefined) return foreign("it has neither a command nor a url");
  const signIn = memberOf(text, node, "oauth") !== undefined || memberOf(text, node, "auth") !== undefined;
  return urlState(parts, url, signIn);
}

function entryOf(text: string, member: Member, path: readonly string[]): ServerEntry {
  const { key, value: node, name } = member;
  const part = (wanted: string): Member | undefined => memberOf(text, node, wanted);
  const parts: EntryParts = {
    command: part("command"),
    args: part("args"),
    url: part("url"),
    type: part("type"),
    headers: part("headers"),
    env: part("env"),
  };
  return { name, path: [...path, name], key, node, parts, state: stateOf(text, node, parts) };
}

function entriesBelow(text: string, holder: Node | undefined, path: readonly string[], key: string): ServerEntry[] {
  const servers = memberOf(text, holder, key);
  if (servers === undefined || servers.value.type === "null") return [];
  if (servers.value.type !== "object") {
    throw new JsoncError({ ...positionAt(text, servers.value.offset), message: `${JSON.stringify(key)} is no object` });
  }
  return namedMembers(text, servers.value).map((member) => entryOf(text, member, [...path, key]));
}

/**
 * The servers in the text of a configuration.
 *
 * @throws JsoncError saying where it cannot be read
 */
export function serverEntries(text: string, { serversKey, hasProjects }: Shape): readonly ServerEntry[] {
  const root = parseJsonc(text);
  if (root === undefined) return [];
  if (root.type !== "object") {
    throw new JsoncError({ ...positionAt(text, root.offset), message: "the file holds no object" });
  }
  const projects = hasProjects === true ? memberOf(text, root, "projects") : undefined;
  return [
    ...entriesBelow(text, root, [], serversKey),
    ...namedMembers(text, projects?.value).flatMap(({ name, value }) =>
      entriesBelow(text, value, ["projects", name], serversKey),
    ),
  ];
}
