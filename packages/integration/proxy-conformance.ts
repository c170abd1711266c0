// The protocol's conformance suite against `server-everything`, bare and through the proxy: `tsx proxy-conformance.ts`, after a build.
// Exits with 1 when any scenario passes fewer checks through the proxy. The suite itself needs Node 22: below it, one is fetched to run it.
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { everythingOverHttp, reference, type Served, servedProxy, servedProxyOf } from "./fixtures/proxy-links.js";

const SUITE = fileURLToPath(new URL("node_modules/@modelcontextprotocol/conformance/dist/index.js", import.meta.url));
const RUNS_SUITE = Number(process.versions.node.split(".")[0]) >= 22;

/** How many checks of a scenario passed and failed. */
interface Ending {
  readonly passed: number;
  readonly failed: number;
}

function readEndings(output: string): Map<string, Ending> {
  const lines = output.matchAll(/^\s*[✓✗] (\S+): (\d+) passed, (\d+) failed/gm);
  return new Map(
    [...lines].map(([, name = "", passed, failed]) => [name, { passed: Number(passed), failed: Number(failed) }]),
  );
}

/** Whether nothing passes less, and nothing fails more. */
function isAsGood(actual: Ending | undefined, expected: Ending): boolean {
  return actual !== undefined && actual.passed >= expected.passed && actual.failed <= expected.failed;
}

function show({ passed, failed }: Ending): string {
  return `${passed} passed, ${failed} failed`;
}

function run(url: URL): Promise<Map<string, Ending>> {
  const args = [SUITE, "server", "--url", url.href, "--suite", "all"];
  const [command, all] = RUNS_SUITE ? [process.execPath, args] : ["npx", ["-y", "-p", "node@24", "node", ...args]];
  return new Promise((resolve) => {
    // It exits with 1 when anything fails: the server itself does not pass everything.
    execFile(command, all, { maxBuffer: 64 * 1024 * 1024 }, (_error, stdout) => resolve(readEndings(stdout)));
  });
}

const everything = await everythingOverHttp();
const bare = new URL(everything.url);
const proxies: Readonly<Record<string, Served>> = {
  "proxy of a command": await servedProxy(reference("server-everything", ["stdio"])),
  "proxy of a URL": await servedProxyOf(bare),
};
const expected = await run(bare);
process.stdout.write(`bare: ${expected.size} scenarios\n`);
if (expected.size === 0) process.exitCode = 1;
for (const [name, proxy] of Object.entries(proxies)) {
  const actual = await run(proxy.url);
  process.stdout.write(`${name}: ${actual.size} scenarios\n`);
  for (const [scenario, ending] of expected) {
    const here = actual.get(scenario);
    if (here !== undefined && show(here) === show(ending)) continue;
    process.stdout.write(`  ${scenario}: bare ${show(ending)}; here ${here === undefined ? "not run" : show(here)}\n`);
    if (!isAsGood(here, ending)) process.exitCode = 1;
  }
  await proxy.stop();
}
await everything.close();
