// `<<< @/../examples/guide/saga.ts#order` on a line of its own is that region of that file, as code. VitePress knows this by itself;
// here it is done before, so that the page and its Markdown for language models hold the same.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "./repository.mjs";

const INCLUDE = /^<<< @\/(\S+?)(?:#([\w-]+))?$/gm;
const MARKER = /^\s*\/\/ #(?:end)?region\b.*$/;

/** @param {string} line @param {string} kind @param {string} region */
const marks = (line, kind, region) => line.trim() === `// #${kind} ${region}`;

/** @param {readonly string[]} lines */
function dedent(lines) {
  const depths = lines.filter((line) => line.trim() !== "").map((line) => line.length - line.trimStart().length);
  const depth = Math.min(...depths);
  return lines.map((line) => line.slice(depth));
}

/**
 * The lines of a file, or of one of its regions, without the marks of regions.
 * @param {string} file absolute
 * @param {string | undefined} region
 */
export function includedCode(file, region) {
  const lines = readFileSync(file, "utf8").trimEnd().split("\n");
  const start = region === undefined ? -1 : lines.findIndex((line) => marks(line, "region", region));
  const end = region === undefined ? lines.length : lines.findIndex((line) => marks(line, "endregion", region));
  if (region !== undefined && (start < 0 || end < start)) throw new Error(`${file} has no region ${region}`);
  const code = lines.slice(start + 1, end).filter((line) => !MARKER.test(line));
  return dedent(code).join("\n").trim();
}

/** What a page includes, in its order. @param {string} text */
export function includesOf(text) {
  return [...text.matchAll(INCLUDE)].map(([, path = "", region]) => {
    const file = join(ROOT, "docs", path);
    const name = region === undefined ? path : `${path}#${region}`;
    return { name, language: path.slice(path.lastIndexOf(".") + 1), code: includedCode(file, region) };
  });
}

/** Puts the code in the place of the lines that ask for it. @param {string} text */
export function expandIncludes(text) {
  return text.replace(INCLUDE, (line) => {
    const [include] = includesOf(line);
    return include === undefined ? line : `\`\`\`${include.language}\n${include.code}\n\`\`\``;
  });
}
