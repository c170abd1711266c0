import { createHash } from "node:crypto";
import { type Node, type ParseError, parseTree, printParseErrorCode } from "jsonc-parser";

/** A place in a text, both numbers from 1. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

/** What is wrong with a text, and where. */
export interface Problem extends Position {
  readonly message: string;
}

/** A text that cannot be read; nothing may be written over it. */
export class JsoncError extends Error {
  override readonly name = "JsoncError";
  constructor(readonly problem: Problem) {
    super(`line ${problem.line}, column ${problem.column}: ${problem.message}`);
  }
}

/** A part of a text that becomes another one. */
export interface TextEdit {
  readonly offset: number;
  readonly length: number;
  readonly text: string;
}

/** A member of an object, as it stands in the text. */
export interface Member {
  readonly name: string;
  /** From the key to the end of the value. */
  readonly property: Node;
  readonly key: Node;
  readonly value: Node;
}

const BOM = "\u{FEFF}";

/** Where an offset is; all three kinds of line ends count once. */
export function positionAt(text: string, offset: number): Position {
  const before = text.slice(0, offset).split(/\r\n|\r|\n/);
  return { line: before.length, column: (before.at(-1) ?? "").length + 1 };
}

function problemAt(text: string, offset: number, message: string): JsoncError {
  return new JsoncError({ ...positionAt(text, offset), message });
}

/** `CommaExpected` as words. */
function wordsOf({ error }: ParseError): string {
  return printParseErrorCode(error)
    .replaceAll(/(?<=[a-z])(?=[A-Z])/g, " ")
    .toLowerCase();
}

/**
 * Parses JSON with comments and trailing commas.
 *
 * @returns the root; `undefined` for a text without a value
 * @throws JsoncError saying where it cannot be read
 */
export function parseJsonc(text: string): Node | undefined {
  const errors: ParseError[] = [];
  // Of the same length as a blank, so that all offsets stay what they are.
  const body = text.startsWith(BOM) ? ` ${text.slice(1)}` : text;
  const root = treeOf(body, errors);
  const [first] = errors;
  if (first !== undefined) throw problemAt(text, first.offset, wordsOf(first));
  return root;
}

function treeOf(body: string, errors: ParseError[]): Node | undefined {
  try {
    return parseTree(body, errors, { allowTrailingComma: true, allowEmptyContent: true });
  } catch (error) {
    // The parser descends by calls of its own.
    if (error instanceof RangeError) throw problemAt(body, 0, "it is nested too deeply to be read");
    throw error;
  }
}

/** The members of an object, in their order; none of what is no object. */
export function membersOf(node: Node | undefined): readonly Member[] {
  if (node?.type !== "object") return [];
  return (node.children ?? []).flatMap((property) => {
    const [key, value] = property.children ?? [];
    return key === undefined || value === undefined ? [] : [{ name: String(key.value), property, key, value }];
  });
}

/**
 * The members of an object that is a list of names.
 *
 * @throws JsoncError when one of them is there twice
 */
export function namedMembers(text: string, node: Node | undefined): readonly Member[] {
  const members = membersOf(node);
  const seen = new Set<string>();
  for (const member of members) {
    if (seen.has(member.name)) throw twice(text, member);
    seen.add(member.name);
  }
  return members;
}

/** Which of them counts is the reader's guess. */
function twice(text: string, { name, property }: Member): JsoncError {
  return problemAt(text, property.offset, `the key ${JSON.stringify(name)} is there twice`);
}

/**
 * The member of a name.
 *
 * @throws JsoncError when there are several
 */
export function memberOf(text: string, node: Node | undefined, name: string): Member | undefined {
  const [found, second] = membersOf(node).filter((member) => member.name === name);
  if (second !== undefined) throw twice(text, second);
  return found;
}

/** The strings of an array; `undefined` for anything else. */
export function stringsOf(node: Node | undefined): readonly string[] | undefined {
  if (node?.type !== "array") return undefined;
  const values = (node.children ?? []).map(({ value }): unknown => value);
  return values.every((value) => typeof value === "string") ? values : undefined;
}

/** The text of a string; `undefined` for anything else. */
export function stringOf(node: Node | undefined): string | undefined {
  return node?.type === "string" ? String(node.value) : undefined;
}

/** The text that a node stands for. */
export function sourceOf(text: string, { offset, length }: Pick<Node, "offset" | "length">): string {
  return text.slice(offset, offset + length);
}

/** Carries edits out that do not overlap. */
export function applyTextEdits(text: string, edits: readonly TextEdit[]): string {
  return [...edits]
    .sort((left, right) => right.offset - left.offset)
    .reduce(
      (changed, { offset, length, text: replacement }) =>
        changed.slice(0, offset) + replacement + changed.slice(offset + length),
      text,
    );
}

/** Tells texts apart. */
export function checksum(text: string): string {
  return createHash("sha256").update(text, "utf8").digest("hex");
}
