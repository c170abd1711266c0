import picomatch from "picomatch";

/** What no tool's name has, and what makes a glob. */
const MAGIC = /[*?[\]{}()!\\|]/;
/** Stands for "/" while matching: in a glob of paths `*` would stop there, but the name of a tool is one piece. */
const SLASH = "\u{E000}";
/** Stands for "." in names that are paths to picomatch, and that `*` would not fit. */
const DOT = "\u{E001}";
/** MCP allows 128 characters. Of a longer name the beginning is matched, so that nobody can make matching slow. */
const LONGEST_NAME = 1024;

const OPTIONS = { dot: true, strictBrackets: true, windows: false } as const;

function withoutSlashes(text: string): string {
  return text.replaceAll("/", SLASH);
}

function asOnePiece(name: string): string {
  if (name === "." || name === "..") return name.replaceAll(".", DOT);
  return withoutSlashes(name.length > LONGEST_NAME ? name.slice(0, LONGEST_NAME) : name);
}

/** Whether a key of `tools` is a glob; every other one is the exact name of a tool. */
export function isGlob(key: string): boolean {
  return MAGIC.test(key);
}

/**
 * Compiles a glob over tool names: `*`, `?`, `[a-c]`, `{a,b}`, `!(a)` and a leading `!`, as picomatch has them. `*` goes over
 * dots and slashes.
 *
 * @throws TypeError naming the path, for brackets that are not closed
 */
export function compileGlob(glob: string, path: string): (name: string) => boolean {
  let matches: (name: string) => boolean;
  try {
    matches = picomatch(withoutSlashes(glob), OPTIONS);
  } catch (cause) {
    throw new TypeError(`${path} is no glob: ${cause instanceof Error ? cause.message : "it cannot be read"}`, {
      cause,
    });
  }
  return (name) => matches(asOnePiece(name));
}
