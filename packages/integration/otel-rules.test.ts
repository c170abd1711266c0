import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { test as base, expect } from "vitest";
import { prometheusText } from "./fixtures/otel-prometheus.js";

const run = promisify(execFile);
const SHIPPED = fileURLToPath(new URL("../otel/", import.meta.url));

/** Why promtool cannot be run, said loudly; with MCP_TX_REQUIRE_SERVICES=1 an error instead. */
async function promtoolMissing(): Promise<boolean> {
  try {
    await run("promtool", ["--version"]);
    return false;
  } catch {
    const line = "SKIPPED: tests that need promtool: it is not in PATH; Debian's package prometheus has it";
    if (process.env["MCP_TX_REQUIRE_SERVICES"] === "1") throw new Error(line);
    process.stderr.write(`\n*** ${line} ***\n`);
    return true;
  }
}

const test = base.skipIf(await promtoolMissing());

test("promtool accepts the alerts", async () => {
  const { stdout } = await run("promtool", ["check", "rules", "prometheus/rules.yml"], { cwd: SHIPPED });
  expect(stdout).toMatch(/SUCCESS: \d+ rules found/);
});

test("the alerts fire when they should, and only then", async () => {
  const { stdout } = await run("promtool", ["test", "rules", "prometheus/rules.test.yml"], { cwd: SHIPPED });
  expect(stdout).toContain("SUCCESS");
  // Days of samples, minute by minute.
}, 120_000);

/** Every string in a JSON document. */
function stringsIn(value: unknown): readonly string[] {
  if (typeof value === "string") return [value];
  return typeof value === "object" && value !== null ? Object.values(value).flatMap(stringsIn) : [];
}

/** Names of series in expressions: a label has the same beginning, but is no name followed by a selector or a bracket. */
function seriesIn(texts: readonly string[]): readonly string[] {
  const series = texts.flatMap((text) =>
    [...text.replaceAll(/\{[^}]*\}|by \([^)]*\)/g, "").matchAll(/(?<![\w:])mcp_\w+/g)].map(([name]) => name),
  );
  return [...new Set(series)].sort();
}

/** Names of the samples that Prometheus would keep of a text. */
function samplesIn(text: string): ReadonlySet<string> {
  return new Set([...text.matchAll(/^(\w+)(?:\{| )/gm)].map(([, name = ""]) => name));
}

/** Labels that expressions select by or group by. */
function labelsIn(texts: readonly string[]): readonly string[] {
  const labels = texts.flatMap((text) =>
    [...text.matchAll(/\{([^}]*)\}|by \(([^)]*)\)/g)].flatMap(([, selector = "", grouping = ""]) => [
      ...[...selector.matchAll(/(\w+)\s*(?:=~|!~|!=|=)/g)].map(([, label = ""]) => label),
      ...grouping.split(",").map((label) => label.trim()),
    ]),
  );
  return [...new Set(labels)].filter((label) => label !== "").sort();
}

async function expressions(): Promise<Readonly<Record<"rules" | "dashboard", readonly string[]>>> {
  const rules = await readFile(`${SHIPPED}prometheus/rules.yml`, "utf8");
  const dashboard = JSON.parse(await readFile(`${SHIPPED}grafana/dashboard.json`, "utf8"));
  const code = [...rules.matchAll(/expr:(?: \|\n((?: {10}.*\n)+)| (.*)\n)/g)].map(
    ([, block, line]) => block ?? line ?? "",
  );
  return { rules: code, dashboard: stringsIn(dashboard).filter((text) => text.includes("mcp_")) };
}

base.each(["rules", "dashboard"] as const)(
  "every metric and label in the %s is one that a run exports",
  async (which) => {
    const used = (await expressions())[which];
    const text = await prometheusText();
    const samples = samplesIn(text);
    expect(seriesIn(used).length).toBeGreaterThan(4);
    expect(seriesIn(used).filter((name) => !samples.has(name))).toEqual([]);
    const labels = new Set([...text.matchAll(/[{,](\w+)="/g)].map(([, label = ""]) => label));
    expect(labelsIn(used).length).toBeGreaterThan(3);
    expect(labelsIn(used).filter((label) => !labels.has(label))).toEqual([]);
  },
);

base("the dashboard shows every metric there is", async () => {
  const shown = seriesIn((await expressions()).dashboard).map((name) => name.replace(/_(?:bucket|count|sum)$/, ""));
  const exported = [...(await prometheusText()).matchAll(/^# TYPE (mcp\w+)/gm)].map(([, name = ""]) => name);
  expect([...new Set(shown)].sort()).toEqual(exported.sort());
});
