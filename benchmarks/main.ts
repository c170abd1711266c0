import { readdir } from "node:fs/promises";
import { parseArgs } from "node:util";
import type { Group, GroupFactory } from "./harness/group.js";
import { judge, type Row } from "./harness/judge.js";
import { sampleGroup } from "./harness/sample.js";
import { table } from "./harness/table.js";

/** Every file in `groups/` is one or more groups of rows. */
async function loadGroups(): Promise<readonly Group[]> {
  const directory = new URL("groups/", import.meta.url);
  const files = (await readdir(directory)).filter((name) => name.endsWith(".ts")).sort();
  const groups: Group[] = [];
  for (const file of files) {
    const { default: make }: { default: GroupFactory } = await import(new URL(file, directory).href);
    groups.push(...(await make()));
  }
  return groups;
}

function isWanted(group: Group, only: string | undefined): boolean {
  if (only === undefined) return true;
  const texts = [group.title, ...group.targets.map(({ what }) => what ?? "")];
  return texts.some((text) => text.toLowerCase().includes(only.toLowerCase()));
}

async function measureAll(groups: readonly Group[], only: string | undefined): Promise<readonly Row[]> {
  const rows: Row[] = [];
  for (const group of groups) {
    if (isWanted(group, only)) {
      process.stderr.write(`measuring: ${group.title}\n`);
      rows.push(...judge(group, await sampleGroup(group)));
    }
    group.close?.();
  }
  return rows;
}

const { values } = parseArgs({
  options: {
    json: { type: "boolean", default: false },
    only: { type: "string" },
  },
});

const rows = await measureAll(await loadGroups(), values.only);
const misses = rows.filter((row) => row.holds === false);
if (rows.length === 0) throw new Error(`no group matches "${values.only}"`);

if (values.json) {
  const { version, platform, arch } = process;
  console.log(JSON.stringify({ node: version, platform, arch, rows, misses: misses.length }, null, 2));
} else {
  console.log(`Node ${process.version}, ${process.platform} ${process.arch}\n`);
  console.log(table(rows));
  console.log(
    misses.length === 0 ? "\nEvery target holds." : `\n${misses.length} of ${rows.length} rows miss their target.`,
  );
}
process.exitCode = misses.length === 0 ? 0 : 1;
