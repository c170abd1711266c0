import * as fc from "fast-check";
import { parse } from "jsonc-parser";
import { expect, test } from "vitest";
import { checksum } from "./jsonc.js";
import { nextRecord, unwrapServers, wrapServers } from "./rewrite.js";
import { type ServerEntry, type Shape, serverEntries } from "./server-entry.js";

const SHAPE: Shape = { serversKey: "mcpServers", hasProjects: true };
const all = (): boolean => true;

/** White space and comments, as people put them anywhere. */
const gap = fc.constantFrom("", "", " ", "\n    ", "\t", "\r\n  ", ' /* a, "b": { */ ', ' // [ ] "\n  ');
const text = fc.oneof(
  fc.constantFrom("-y", "--", "", "a b", '"', "\\", `\${input:x}`, "//", "/* */", "@mcp-tx/docs", "é\u{1F600}"),
  fc.string({ maxLength: 8 }),
);
const scalar = fc.oneof(
  text.map((value) => JSON.stringify(value)),
  fc.constantFrom("null", "true", "-1.50e2", "12345678901234567890"),
);

function array(items: fc.Arbitrary<string>): fc.Arbitrary<string> {
  return fc.array(fc.tuple(gap, items, gap), { maxLength: 4 }).chain((parts) =>
    fc.tuple(gap, fc.boolean()).map(([empty, hasTrailing]) => {
      const inner = parts.map((part) => part.join("")).join(",");
      return `[${parts.length === 0 ? empty : inner + (hasTrailing ? "," : "")}]`;
    }),
  );
}

type Entry = readonly [key: string, value: fc.Arbitrary<string>];

function object(entries: readonly Entry[]): fc.Arbitrary<string> {
  return fc
    .tuple(fc.shuffledSubarray([...entries], { minLength: entries.length }), gap, fc.boolean())
    .chain(([order, empty, hasTrailing]) =>
      fc
        .tuple(...order.map(([key, value]) => fc.tuple(gap, fc.constant(JSON.stringify(key)), gap, value, gap)))
        .map((members) => {
          const inner = members
            .map(([before, key, colon, value, after]) => `${before}${key}:${colon}${value}${after}`)
            .join(",");
          return `{${members.length === 0 ? empty : inner + (hasTrailing ? "," : "")}}`;
        }),
    );
}

const headers = fc
  .uniqueArray(fc.constantFrom("Authorization", "X-A", "X_A", "x-a", "Accept"), { maxLength: 3 })
  .chain((names) => object(names.map((name) => [name, text.map((value) => JSON.stringify(value))])));
const extras: readonly Entry[] = [
  ["disabled", scalar],
  ["x-unknown", array(scalar)],
];
const entry = fc.oneof(
  object([
    ["command", text.map((value) => JSON.stringify(value))],
    ["args", array(text.map((value) => JSON.stringify(value)))],
    ...extras,
  ]),
  object([
    ["command", text.map((value) => JSON.stringify(value))],
    ["env", headers],
  ]),
  object([
    ["url", fc.constant('"https://example.com/mcp?a=1"')],
    ["headers", headers],
    ["type", fc.constant('"http"')],
    ...extras,
  ]),
  object([["url", fc.constant('"http://localhost/"')]]),
  scalar,
);
const servers = fc
  .uniqueArray(fc.oneof(text, fc.constant("__proto__")), { maxLength: 4 })
  .chain((names) => object(names.map((name): Entry => [name, entry])));
const document = fc
  .tuple(
    fc.constantFrom("", "\u{FEFF}"),
    gap,
    object([
      ["mcpServers", servers],
      ["other", array(scalar)],
      ["projects", object([["/p", object([["mcpServers", servers]])]])],
    ]),
    fc.constantFrom("", "\n", "\r\n", " // end"),
  )
  .map((parts) => parts.join(""));

function meaningOf(source: string): unknown {
  return parse(source.replace(/^\u{FEFF}/u, ""), [], { allowTrailingComma: true });
}

function toEntries(source: string): readonly ServerEntry[] {
  return serverEntries(source, SHAPE);
}

test("whatever the file looks like, every server is wrapped once, and undoing by edits gives each byte back", () => {
  fc.assert(
    fc.property(document, (before) => {
      const first = wrapServers(before, SHAPE, all);
      const wrappable = toEntries(before).filter(({ state }) => state.kind === "command" || state.kind === "url");
      expect(first.changed).toHaveLength(wrappable.length);
      expect(toEntries(first.text).map(({ path }) => path)).toEqual(toEntries(before).map(({ path }) => path));
      expect(wrapServers(first.text, SHAPE, all).text).toBe(first.text);

      const record = nextRecord("file", before, first, SHAPE, undefined);
      expect(record.original).toBe(before);
      expect(record.writtenSum).toBe(checksum(first.text));
      expect(unwrapServers(first.text, SHAPE, record, all).text).toBe(before);
    }),
    { numRuns: 300 },
  );
});

test("without a record the entries mean the same again", () => {
  fc.assert(
    fc.property(document, (before) => {
      const { text: after } = wrapServers(before, SHAPE, all);
      const undone = unwrapServers(after, SHAPE, undefined, all);
      expect(undone.failed).toEqual([]);
      for (const [index, { state }] of toEntries(before).entries()) {
        expect(toEntries(undone.text)[index]?.state).toEqual(state);
      }
    }),
    { numRuns: 300 },
  );
});

test("what is wrapped starts the server with the arguments that it had", () => {
  fc.assert(
    fc.property(document, (before) => {
      const after = toEntries(wrapServers(before, SHAPE, all).text);
      for (const [index, { state }] of toEntries(before).entries()) {
        if (state.kind !== "command") continue;
        const { command, args } = state;
        expect(after[index]?.state).toEqual({ kind: "wrapped", target: { kind: "command", command, args } });
      }
    }),
    { numRuns: 300 },
  );
});

test("nothing but the servers is changed", () => {
  fc.assert(
    fc.property(document, (before) => {
      const { text: after } = wrapServers(before, SHAPE, all);
      expect((meaningOf(after) as { other: unknown }).other).toEqual((meaningOf(before) as { other: unknown }).other);
      expect(after.startsWith("\u{FEFF}")).toBe(before.startsWith("\u{FEFF}"));
    }),
    { numRuns: 100 },
  );
});
