import type { Node } from "jsonc-parser";
import { applyTextEdits, membersOf, parseJsonc, type TextEdit } from "./jsonc.js";

/** Hides what may be a secret in what is shown of a configuration: everything that is not known to be none. */

const MASK = "***";
/** Whose values say how a server is started, not with which secrets. */
const SHOWN_KEYS: readonly string[] = ["command", "type", "cwd"];
const SECRET_NAME = /key|token|secret|passw|credential|auth|header|cookie|session|signature|bearer|dsn|\bpat\b/i;
const ASSIGNMENT = /^[\w.-]+[=:](?=\s*\S)/;
/** `C:\\tools` looks like an assignment. */
const DRIVE = /^[a-z]:[\\/]/i;
const URL_START = /^[a-z][a-z\d+.-]*:\/\//i;
/** Long, and of letters and digits: what services give out as keys. */
const OPAQUE = /^(?=.*\d)(?=.*[a-z])[\w+=~-]{20,}$/i;

/** A url without its user, its query and its fragment. */
function maskUrl(text: string): string {
  return text
    .replace(/^([a-z][a-z\d+.-]*:\/\/)[^/@\s]*@/i, `$1${MASK}@`)
    .replace(/\?[^#]*/, `?${MASK}`)
    .replace(/#.*$/s, `#${MASK}`);
}

function maskOption(argument: string): string {
  const at = argument.indexOf("=");
  return at < 0 ? argument : `${argument.slice(0, at + 1)}${MASK}`;
}

/** Options of our own, whose values hold no secret; nor does the name of a variable. */
const OWN_OPTIONS: readonly string[] = ["--header-env", "--name"];

function maskValue(argument: string): string {
  if (URL_START.test(argument)) return maskUrl(argument);
  const [assigned] = ASSIGNMENT.exec(argument) ?? [];
  if (assigned !== undefined && !DRIVE.test(argument)) return assigned + MASK;
  return OPAQUE.test(argument) ? MASK : argument;
}

/** An argument, by the one before it. */
export function maskArgument(argument: string, previous: string | undefined): string {
  if (previous !== undefined && OWN_OPTIONS.includes(previous)) return argument;
  if (argument.startsWith("-")) return maskOption(argument);
  const isSecret = previous?.startsWith("-") === true && !previous.includes("=") && SECRET_NAME.test(previous);
  return isSecret ? MASK : maskValue(argument);
}

function masked({ offset, length }: Node, text: string): TextEdit {
  return { offset, length, text: JSON.stringify(text) };
}

/** All texts below a node. */
function maskAll(node: Node): readonly TextEdit[] {
  if (node.type === "string") return [masked(node, MASK)];
  if (node.type === "number") return [{ offset: node.offset, length: node.length, text: JSON.stringify(MASK) }];
  if (node.type === "object") return membersOf(node).flatMap(({ value }) => maskAll(value));
  return (node.children ?? []).flatMap(maskAll);
}

function maskArguments(list: Node): readonly TextEdit[] {
  const items = list.children ?? [];
  return items.flatMap((item, index) => {
    if (item.type !== "string") return maskAll(item);
    const previous: unknown = items[index - 1]?.value;
    const text = String(item.value);
    const shown = maskArgument(text, typeof previous === "string" ? previous : undefined);
    return shown === text ? [] : [masked(item, shown)];
  });
}

function maskMember(name: string, value: Node): readonly TextEdit[] {
  if (SHOWN_KEYS.includes(name)) return [];
  if (name === "args" && value.type === "array") return maskArguments(value);
  if (name === "url" && value.type === "string") {
    const shown = maskUrl(String(value.value));
    return shown === value.value ? [] : [masked(value, shown)];
  }
  return maskAll(value);
}

/** The text of an entry without secrets and without comments, which may quote some. */
export function maskEntry(source: string): string {
  const root = parseJsonc(source);
  const edits = membersOf(root).flatMap(({ name, value }) => maskMember(name, value));
  return withoutComments(applyTextEdits(source, edits));
}

/** Strings are matched too, and kept, so that what looks like a comment in one stays. */
const STRING_OR_COMMENT = /"(?:[^"\\]|\\.)*"|\/\/[^\r\n]*|\/\*[\s\S]*?\*\//g;

function withoutComments(text: string): string {
  return text.replace(STRING_OR_COMMENT, (found) => (found.startsWith('"') ? found : ""));
}
