// Runs one scenario on both lines of the OpenTelemetry SDK, each in a folder of its own with its own API, and compares the spans and
// metrics. SDK 3 needs Node >= 22.15: it runs on the Node that is here if that is new enough, else on one that npx brings.
// Usage, after a build: node packages/integration/otel-sdk3/check.mjs
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const execute = promisify(execFile);
const PACKAGES = fileURLToPath(new URL("../../", import.meta.url));
const OURS = ["circuit-breaker", "core", "idempotency", "otel", "rate-limit", "retry"];
const LINES = {
  2: {
    "@opentelemetry/api": "~1.9.0",
    "@opentelemetry/core": "^2.12.0",
    "@opentelemetry/sdk-metrics": "^2.12.0",
    "@opentelemetry/sdk-trace-base": "^2.12.0",
  },
  3: {
    "@opentelemetry/api": "~1.10.0",
    "@opentelemetry/core": "^3.1.0",
    "@opentelemetry/exporter-metrics-otlp-proto": "^0.301.0",
    "@opentelemetry/exporter-trace-otlp-proto": "^0.301.0",
    "@opentelemetry/sdk-metrics": "^3.1.0",
    "@opentelemetry/sdk-trace": "^3.1.0",
  },
};

const [major, minor] = process.versions.node.split(".").map(Number);
const isNewEnough = major > 22 || (major === 22 && minor >= 15);

function node(line, args, folder) {
  if (line === "2" || isNewEnough) return execute(process.execPath, args, { cwd: folder });
  return execute("npx", ["-y", "-p", "node@24", "node", ...args], { cwd: folder });
}

/** The setup that the README shows for SDK 3, and a span through it: whatever does not exist there throws. */
async function runReadme(folder) {
  const readme = await readFile(join(PACKAGES, "otel/README.md"), "utf8");
  const [, setup] = /^```js\n([\s\S]*?)^```$/m.exec(readme) ?? [];
  assert(setup !== undefined, "the README shows a setup");
  const use = "trace.getTracer('test').startSpan('span').end();\nprocess.exit(0);\n";
  await writeFile(join(folder, "setup.mjs"), setup + use);
  await node("3", ["setup.mjs"], folder);
}

async function resultsOf(line) {
  const folder = await mkdtemp(join(tmpdir(), `otel-sdk${line}-`));
  try {
    const manifest = { private: true, type: "module", dependencies: LINES[line] };
    await writeFile(join(folder, "package.json"), JSON.stringify(manifest));
    // Without --force or --legacy-peer-deps: the peers of the SDK must agree.
    await execute("npm", ["install", "--no-audit", "--no-fund"], { cwd: folder });
    for (const name of OURS) {
      const target = join(folder, "node_modules/@mcp-tx", name);
      await cp(join(PACKAGES, name, "package.json"), join(target, "package.json"));
      await cp(join(PACKAGES, name, "dist"), join(target, "dist"), { recursive: true });
    }
    await cp(new URL("scenario.mjs", import.meta.url), join(folder, "scenario.mjs"));
    if (line === "3") await runReadme(folder);
    const { stdout } = await node(line, ["scenario.mjs", line], folder);
    return JSON.parse(stdout.trim().split("\n").at(-1));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const two = await resultsOf("2");
const three = await resultsOf("3");
assert.deepEqual(three, two);
const shape = ({ kind, status, children }) => [kind, status, children.map(shape)];
assert.deepEqual(two.trees.map(shape), [
  // Fails once and succeeds; the server's span stands below the first attempt.
  [
    "INTERNAL",
    "UNSET",
    [
      ["CLIENT", "ERROR", [["SERVER", "ERROR", []]]],
      ["CLIENT", "UNSET", []],
    ],
  ],
  // Answered from its record.
  ["INTERNAL", "UNSET", []],
  // Fails twice, which opens the circuit; the third attempt is refused.
  [
    "INTERNAL",
    "ERROR",
    [
      ["CLIENT", "ERROR", []],
      ["CLIENT", "ERROR", []],
    ],
  ],
]);
assert(!JSON.stringify(two.trees).includes('"isOneTrace":false'));
assert(two.injected);
process.stdout.write(`${two.trees.length} trees and ${two.points.length} metrics are the same on SDK 2.x and 3.x\n`);
