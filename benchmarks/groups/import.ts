import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Group } from "../harness/group.js";

const EMPTY = "empty file";
/** The most that a package may add in milliseconds; the others inform. */
const MODULES: Readonly<Record<string, number | undefined>> = {
  "@mcp-tx/core": 3,
  "@mcp-tx/retry": undefined,
  "mcp-tx": undefined,
  cockatiel: undefined,
};

/** Files outside of the repository, run by Node alone: neither a loader nor a package lookup is in the way. */
export default (): readonly Group[] => {
  const directory = mkdtempSync(join(tmpdir(), "mcp-tx-bench-"));
  const nameOf = (module: string): string => `import ${module}`;
  const files = Object.keys(MODULES).map((module, index): [string, string] => {
    const file = join(directory, `${index}.mjs`);
    writeFileSync(file, `import ${JSON.stringify(import.meta.resolve(module))};\n`);
    return [nameOf(module), file];
  });
  const empty = join(directory, "empty.mjs");
  writeFileSync(empty, "");
  return [
    {
      title: "import: time that a package adds to a process",
      measure: "spawn",
      contenders: { [EMPTY]: empty, ...Object.fromEntries(files) },
      reference: EMPTY,
      targets: Object.entries(MODULES).map(([module, atMost]) => ({
        what: `import: ${module}`,
        ours: nameOf(module),
        peer: EMPTY,
        kind: "difference",
        atMost,
      })),
      close: () => rmSync(directory, { recursive: true, force: true }),
    },
  ];
};
