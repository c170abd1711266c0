import type { Node } from "jsonc-parser";
import { type Member, membersOf, type TextEdit } from "./jsonc.js";
import type { ServerEntry } from "./server-entry.js";
import { type Launcher, launcherArguments } from "./wrapped-command.js";

/** Edits that put the proxy before a server. They touch as little as they can: what is not replaced keeps its place and comments. */

const quote = (text: string): string => JSON.stringify(text);

/** White space right before an offset. */
function spaceBefore(text: string, offset: number): string {
  return /\s*$/.exec(text.slice(0, offset))?.[0] ?? "";
}

/** White space between the colon of a member and its value: minified files have none. */
function spaceAfterColon(text: string, { property, value }: Member): string {
  const between = property.colonOffset === undefined ? " " : text.slice(property.colonOffset + 1, value.offset);
  return /^\s*$/.test(between) ? between : " ";
}

function list(items: readonly string[], space: string): string {
  return `[${items.map(quote).join(`,${space}`)}]`;
}

/** Puts items before those that an array has, each on a line of its own where those are. */
export function prepended(text: string, array: Node, items: readonly string[], space: string): TextEdit {
  const offset = array.offset + 1;
  const [first] = array.children ?? [];
  if (first === undefined) return { offset, length: 0, text: items.map(quote).join(`,${space}`) };
  const lead = /^\s*/.exec(text.slice(offset))?.[0] ?? "";
  const inserted = items.map(quote).join(lead.includes("\n") ? `,${lead}` : `,${space}`);
  if (lead === "") return { offset, length: 0, text: `${inserted},${space}` };
  return { offset, length: 0, text: `${lead}${inserted},` };
}

/** A new member after another one, set like that one. */
function sibling(text: string, { property }: Member, key: string, value: string, space: string): string {
  return `,${spaceBefore(text, property.offset)}${quote(key)}:${space}${value}`;
}

function replaced({ offset, length }: Node, text: string): TextEdit {
  return { offset, length, text };
}

function commandEdits(
  text: string,
  entry: ServerEntry,
  command: Member,
  inner: string,
  by: Launcher,
): readonly TextEdit[] {
  const { args } = entry.parts;
  const items = launcherArguments(by, entry.name, { kind: "command", command: inner, args: [] });
  const space = spaceAfterColon(text, command);
  const launcher = quote(by.command);
  if (args?.value.type === "array") {
    return [replaced(command.value, launcher), prepended(text, args.value, items, space)];
  }
  if (args !== undefined) return [replaced(command.value, launcher), replaced(args.value, list(items, space))];
  return [replaced(command.value, launcher + sibling(text, command, "args", list(items, space), space))];
}

/** Environment variables for the values of headers, which on a command line every user of the machine could read. */
export function headerVariables(headers: readonly string[]): readonly (readonly [header: string, variable: string])[] {
  const taken = new Set<string>();
  return headers.map((header) => {
    const base = `UPSTREAM_HEADER_${header.toUpperCase().replaceAll(/[^A-Z0-9]/g, "_")}`;
    let variable = base;
    for (let count = 2; taken.has(variable); count += 1) variable = `${base}_${count}`;
    taken.add(variable);
    return [header, variable] as const;
  });
}

function urlEdits(text: string, entry: ServerEntry, url: Member, target: string, by: Launcher): readonly TextEdit[] {
  const { headers, type } = entry.parts;
  const named = membersOf(headers?.value);
  const variables = headerVariables(named.map(({ name }) => name));
  const items = launcherArguments(by, entry.name, { kind: "url", url: target, headers: variables });
  const space = spaceAfterColon(text, url);
  const start = `${quote("command")}:${space}${quote(by.command)}`;
  const edits = [replaced(url.property, start + sibling(text, url, "args", list(items, space), space))];
  if (type !== undefined) edits.push(replaced(type.value, quote("stdio")));
  if (headers === undefined) return edits;
  const renamed = named.map(({ key }, index) => replaced(key, quote(variables[index]?.[1] ?? "")));
  return [...edits, replaced(headers.key, quote("env")), ...renamed];
}

/** What wraps an entry; nothing for one that is wrapped already or that cannot be. */
export function wrapEdits(text: string, entry: ServerEntry, by: Launcher): readonly TextEdit[] {
  const { state, parts } = entry;
  if (state.kind === "command" && parts.command !== undefined) {
    return commandEdits(text, entry, parts.command, state.command, by);
  }
  if (state.kind === "url" && parts.url !== undefined) return urlEdits(text, entry, parts.url, state.url, by);
  return [];
}
