import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

/** The handler runs wherever requests and responses are those of the web: in workers, too. */

const IMPORT = /\bfrom "([^"]+)"/g;

/** All that a source file imports, its own files followed. */
function importsOf(file: string, found: Set<string> = new Set()): ReadonlySet<string> {
  const text = readFileSync(fileURLToPath(new URL(file, import.meta.url)), "utf8");
  for (const [, specifier = ""] of text.matchAll(IMPORT)) {
    if (found.has(specifier)) continue;
    found.add(specifier);
    if (specifier.startsWith("./")) importsOf(specifier.replace(/\.js$/, ".ts"), found);
  }
  return found;
}

test("the handler imports nothing of Node, nor of a framework", () => {
  const outside = [...importsOf("./index.ts")].filter((specifier) => !specifier.startsWith("./"));
  expect(outside.sort()).toEqual([
    "@cfworker/json-schema",
    "@mcp-tx/core",
    "@mcp-tx/core/options",
    "structured-headers",
  ]);
});

test("nor uses what only Node has", () => {
  const files = [...importsOf("./index.ts")].filter((specifier) => specifier.startsWith("./"));
  expect(files.length).toBeGreaterThan(20);
  for (const file of files) {
    const source = readFileSync(fileURLToPath(new URL(file.replace(/\.js$/, ".ts"), import.meta.url)), "utf8");
    expect(source).not.toMatch(/\b(?:process\.|Buffer\b|setImmediate|require\()/);
  }
});
