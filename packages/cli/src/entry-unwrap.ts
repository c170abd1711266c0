import type { Node } from "jsonc-parser";
import { type Member, membersOf, type TextEdit } from "./jsonc.js";
import type { ServerEntry } from "./server-entry.js";
import type { WrappedTarget } from "./wrapped-command.js";

/** Edits that take the proxy away from a server again, for entries that somebody has edited or that another machine has wrapped. */

type UrlTarget = Extract<WrappedTarget, { readonly kind: "url" }>;
type CommandTarget = Extract<WrappedTarget, { readonly kind: "command" }>;

const quote = (text: string): string => JSON.stringify(text);
const endOf = ({ offset, length }: Node): number => offset + length;

function replaced({ offset, length }: Node, text: string): TextEdit {
  return { offset, length, text };
}

/** The first so many items of an array. */
function withoutFirst(array: Node, count: number): TextEdit {
  const items = array.children ?? [];
  const offset = items[0]?.offset ?? array.offset + 1;
  const last = items[count - 1];
  const end = items[count]?.offset ?? (last === undefined ? offset : endOf(last));
  return { offset, length: end - offset, text: "" };
}

/** A member, and the comma that parts it from its neighbour. */
function withoutMember(object: Node, member: Member): TextEdit {
  const properties = object.children ?? [];
  const at = properties.indexOf(member.property);
  const previous = properties[at - 1];
  const offset = previous === undefined ? member.property.offset : endOf(previous);
  const end = previous === undefined ? (properties[at + 1]?.offset ?? endOf(member.property)) : endOf(member.property);
  return { offset, length: end - offset, text: "" };
}

function commandEdits({ parts }: ServerEntry, target: CommandTarget): readonly TextEdit[] | undefined {
  const { command, args } = parts;
  if (command === undefined || args === undefined) return undefined;
  const count = (args.value.children ?? []).length - target.args.length;
  return [replaced(command.value, quote(target.command)), withoutFirst(args.value, count)];
}

function headerEdits(env: Member, target: UrlTarget): readonly TextEdit[] | undefined {
  const headerOf = new Map(target.headers.map(([header, variable]) => [variable, header]));
  const variables = membersOf(env.value);
  // What is no header must not be sent as one.
  if (variables.some(({ name }) => !headerOf.has(name))) return undefined;
  return [
    replaced(env.key, quote("headers")),
    ...variables.map(({ key, name }) => replaced(key, quote(headerOf.get(name) ?? name))),
  ];
}

function urlEdits({ parts, node }: ServerEntry, target: UrlTarget): readonly TextEdit[] | undefined {
  const { command, args, type, env } = parts;
  if (command === undefined || args === undefined) return undefined;
  const renamed = env === undefined ? [] : headerEdits(env, target);
  if (renamed === undefined || (env === undefined && target.headers.length > 0)) return undefined;
  const edits = [
    replaced(command.key, quote("url")),
    replaced(command.value, quote(target.url)),
    withoutMember(node, args),
    ...renamed,
  ];
  return type === undefined ? edits : [...edits, replaced(type.value, quote("http"))];
}

/** What unwraps an entry; `undefined` when it cannot be told what was there. */
export function unwrapEdits(entry: ServerEntry): readonly TextEdit[] | undefined {
  const { state } = entry;
  if (state.kind !== "wrapped" || state.target === "unreadable") return undefined;
  return state.target.kind === "command" ? commandEdits(entry, state.target) : urlEdits(entry, state.target);
}
