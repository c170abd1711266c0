import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { circuitBreaker } from "@mcp-tx/circuit-breaker";
import { type Classifier, reportOf, textOf, type WrapOptions, wrapClient, wrapServer } from "@mcp-tx/core";
import { idempotency, memoryStore } from "@mcp-tx/idempotency";
import { retry } from "@mcp-tx/retry";
import { StdioClientTransport as StdioClientTransportV2 } from "@modelcontextprotocol/client/stdio";
import { describe, expect, onTestFinished, test } from "vitest";
import { httpV1, httpV2 } from "./fixtures/http-servers.js";
import { type Line, type SdkClient, type SdkTransport, v1, v2 } from "./fixtures/lines.js";
import { started } from "./fixtures/proxy-links.js";
import { type Execution, registerTools } from "./fixtures/tools.mjs";

/** Every client against every server, in whatever era the two agree on: one story, the same in each. */

const NEWEST = "2026-07-28";
const HANDSHAKE = "2025-11-25";

const CLIENTS: readonly { client: string; line: Line; options: Readonly<Record<string, unknown>> }[] = [
  { client: "v1", line: v1, options: {} },
  { client: "v2", line: v2, options: {} },
  { client: "v2 that asks", line: v2, options: { versionNegotiation: { mode: "auto" } } },
  { client: "v2 that insists", line: v2, options: { versionNegotiation: { mode: { pin: NEWEST } } } },
];
const CELLS = CLIENTS.flatMap(
  (side) =>
    [v1, v2].flatMap((server) =>
      (["stdio", "HTTP"] as const).map((over) => {
        const isModern = "versionNegotiation" in side.options && server === v2;
        return { ...side, server, over, on: server.name, era: isModern ? NEWEST : HANDSHAKE };
      }),
    ),
  // The two have no era in common.
).filter(({ client, server }) => client !== "v2 that insists" || server === v2);

interface Served {
  readonly transport: SdkTransport;
  runs(): readonly Execution[];
}

/** A server that recognises duplicates, in a process of its own. */
function overStdio(client: Line, server: Line): Served {
  const folder = mkdtempSync(join(tmpdir(), "interop-lines-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true, maxRetries: 5 }));
  const log = join(folder, "log");
  const script = fileURLToPath(new URL(`fixtures/stdio-${server.name}.mjs`, import.meta.url));
  // A file: an SDK that asks for the era first asks a process of its own for it.
  const env = { EXECUTION_LOG: log, IDEMPOTENCY_STORE: join(folder, "records.db") };
  const command = { command: process.execPath, args: [script], env };
  const transport = client === v1 ? started(command) : new StdioClientTransportV2({ ...command, stderr: "ignore" });
  return {
    transport: transport as unknown as SdkTransport,
    runs: () => {
      const lines = existsSync(log) ? readFileSync(log, "utf8").split("\n") : [];
      return lines.filter((line) => line !== "").map((line) => JSON.parse(line) as Execution);
    },
  };
}

async function overHttp(client: Line, server: Line): Promise<Served> {
  const executions: Execution[] = [];
  const store = memoryStore();
  const serve = server === v1 ? httpV1 : httpV2;
  const http = await serve(() => {
    const built = server.mcpServer();
    registerTools(built, (entry) => executions.push(entry));
    return wrapServer(built, idempotency({ store }));
  });
  onTestFinished(() => http.close());
  return { transport: client.http(http.url), runs: () => executions };
}

/** What stands between the two says this, in place of the server's answers that follow. */
class Gateway {
  readonly sayings: string[] = [];
  /** Calls that came by. */
  calls = 0;

  constructor(transport: SdkTransport) {
    const ids = new Set<unknown>();
    const send = transport.send.bind(transport);
    transport.send = (message, options) => {
      if (message.method === "tools/call") {
        this.calls += 1;
        ids.add(message.id);
      }
      return send(message, options);
    };
    const { onmessage } = transport;
    transport.onmessage = (message, extra) => {
      const saying = ids.delete(message.id) ? this.sayings.shift() : undefined;
      const result = { ...(message.result as object), content: [{ type: "text", text: saying }], isError: true };
      onmessage?.(saying === undefined ? message : { ...message, result }, extra);
    };
  }
}

const gatewayWords: Classifier = ({ result }) => {
  const text = result?.isError === true ? textOf(result) : "";
  if (text.startsWith("504")) return { execution: "unknown", transient: true, code: "transport_error" };
  if (text.startsWith("429")) return { status: "throttled", execution: "not-executed", transient: true };
  return undefined;
};
const WRAP: WrapOptions = { classifiers: [gatewayWords] };

async function connected(cell: (typeof CELLS)[number]) {
  const { line, server, over, options } = cell;
  const { transport, runs } = over === "stdio" ? overStdio(line, server) : await overHttp(line, server);
  const client = line.client(options);
  let version: string | undefined;
  // SDK v1 tells its transport alone.
  const link = transport as SdkTransport & { setProtocolVersion?(version: string): void };
  const set = link.setProtocolVersion?.bind(link);
  link.setProtocolVersion = (agreed) => {
    version = agreed;
    set?.(agreed);
  };
  await client.connect(transport);
  onTestFinished(() => client.close());
  return { client, gateway: new Gateway(transport), runs, version: () => versionOf(client) ?? version };
}

function versionOf(client: SdkClient): string | undefined {
  return (client as { getNegotiatedProtocolVersion?(): string }).getNegotiatedProtocolVersion?.();
}

describe.each(CELLS)("a client of $client against a server of $on over $over", (cell) => {
  test("sends again what was lost, is answered once from a record, and stops at an open circuit", async () => {
    const { client: bare, gateway, runs, version } = await connected(cell);
    expect(version()).toBe(cell.era);
    const runsOf = (text: string) => runs().filter(({ args }) => args["text"] === text).length;
    const client = wrapClient(bare, retry({ baseDelayMs: 0 }), WRAP);

    // The answer is lost. The server knows the call again, though nobody gave it a key.
    gateway.sayings.push("504 Gateway Timeout");
    const recovered = await client.call("echo", { text: "lost" });
    expect(textOf(recovered)).toBe("lost");
    expect(reportOf(recovered)).toMatchObject({ attempts: 2, duplicate: true, execution: "executed" });
    expect(runsOf("lost")).toBe(1);

    // The same call by name, refused at first.
    gateway.sayings.push("429 Too Many Requests");
    const once = () => client.call("echo", { text: "named" }, { idempotencyKey: "order-1" });
    const reports = [reportOf(await once()), reportOf(await once())];
    expect(reports).toMatchObject([{ attempts: 2 }, { attempts: 1, duplicate: true }]);
    expect(runsOf("named")).toBe(1);

    const breaker = circuitBreaker({ consecutiveFailures: 2 });
    const guarded = wrapClient(bare, breaker, WRAP);
    gateway.sayings.push("429 Too Many Requests", "429 Too Many Requests");
    for (const _ of [1, 2]) await guarded.call("echo", { text: "throttled" });
    const before = gateway.calls;
    const refused = await guarded.call("echo", { text: "refused" }).catch((error: unknown) => error);
    expect(reportOf(refused)).toMatchObject({ status: "rejected", attempts: 0, error: { code: "circuit_open" } });
    expect([gateway.calls - before, runsOf("refused")]).toEqual([0, 0]);
    expect(textOf(await guarded.call("read"))).toBe("read");
  });
});
