import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Group } from "../harness/group.js";

/** Two files outside of the repository, run by Node alone: neither a loader nor a package lookup is in the way. */
export default (): readonly Group[] => {
  const directory = mkdtempSync(join(tmpdir(), "mcp-tx-bench-"));
  const empty = join(directory, "empty.mjs");
  const core = join(directory, "core.mjs");
  writeFileSync(empty, "");
  writeFileSync(core, `import ${JSON.stringify(import.meta.resolve("@mcp-tx/core"))};\n`);
  return [
    {
      title: "import: @mcp-tx/core",
      measure: "spawn",
      contenders: { "empty file": empty, "import @mcp-tx/core": core },
      reference: "empty file",
      targets: [{ ours: "import @mcp-tx/core", peer: "empty file", kind: "difference", atMost: 3 }],
      close: () => rmSync(directory, { recursive: true, force: true }),
    },
  ];
};
