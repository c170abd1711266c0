import { mkdirSync, mkdtempSync, realpathSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { Client as ClientV2 } from "@modelcontextprotocol/client";
import { StdioClientTransport as StdioV2 } from "@modelcontextprotocol/client/stdio";
import { Client as ClientV1 } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport as StdioV1 } from "@modelcontextprotocol/sdk/client/stdio.js";
import { Ledger } from "./ledger.js";

/** Ours, ours with a limit of its own, and two published reference servers. */
export type ServerName = "billing" | "billing --limited" | "everything" | "filesystem";

/** A client of either SDK line. */
export type AnyClient = ClientV1 | ClientV2;

const CLIENT_INFO = { name: "quickstart", version: "1.0.0" };
const require = createRequire(import.meta.url);

/** The script behind an installed package's command. */
function scriptOf(packageName: string, command: string): string {
  const manifest = require.resolve(`${packageName}/package.json`);
  const { bin } = require(manifest) as { readonly bin: Readonly<Record<string, string>> };
  const script = bin[command];
  if (script === undefined) throw new Error(`${packageName} has no command ${command}`);
  return join(dirname(manifest), script);
}

function remember<K, V>(make: (key: K) => Promise<V>): (key: K) => Promise<V> {
  const made = new Map<K, Promise<V>>();
  return (key) => {
    const value = made.get(key) ?? make(key);
    made.set(key, value);
    return value;
  };
}

/** Kills a process that may have ended by itself meanwhile. */
function killNow(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

/** Starts servers as child processes, connects clients to them, and lets none of them outlive the demo. */
export class Servers {
  /** A directory of the demo's own, removed at the end. */
  readonly directory: string = realpathSync(mkdtempSync(join(tmpdir(), "mcp-tx-quickstart-")));
  /** What the billing servers really executed. */
  readonly ledger: Ledger = new Ledger(join(this.directory, "ledger.jsonl"));
  /** Clients of servers that the scenes share. */
  readonly sharedV1 = remember((server: ServerName) => this.startV1(server));
  readonly sharedV2 = remember((server: ServerName) => this.startV2(server));
  readonly #running = new Map<AnyClient, number>();

  constructor() {
    mkdirSync(join(this.directory, "files"));
    process.once("exit", this.#abandon);
  }

  /** The directory that the filesystem server serves. */
  get files(): string {
    return join(this.directory, "files");
  }

  /** A client of SDK v1 with a server process of its own. */
  async startV1(server: ServerName): Promise<ClientV1> {
    const client = new ClientV1(CLIENT_INFO);
    const transport = new StdioV1(this.#commandOf(server));
    await client.connect(transport);
    return this.#keep(client, transport.pid);
  }

  /** A client of SDK v2 with a server process of its own. */
  async startV2(server: ServerName): Promise<ClientV2> {
    const client = new ClientV2(CLIENT_INFO);
    const transport = new StdioV2(this.#commandOf(server));
    await client.connect(transport);
    return this.#keep(client, transport.pid);
  }

  /** Kills the server of a client, and returns once the client has noticed. */
  async kill(client: AnyClient): Promise<void> {
    const pid = this.#running.get(client);
    if (pid === undefined) return;
    const closed = new Promise<void>((resolve) => {
      client.onclose = resolve;
    });
    killNow(pid);
    await closed;
    this.#running.delete(client);
  }

  /** Ends all servers and removes the directory. */
  async close(): Promise<void> {
    await Promise.all([...this.#running.keys()].map((client) => this.kill(client)));
    this.#abandon();
    process.off("exit", this.#abandon);
  }

  readonly #abandon = (): void => {
    for (const pid of this.#running.values()) killNow(pid);
    this.#running.clear();
    rmSync(this.directory, { recursive: true, force: true });
  };

  #keep<C extends AnyClient>(client: C, pid: number | null): C {
    if (pid === null) throw new Error("The server has gone already.");
    this.#running.set(client, pid);
    client.onclose = () => this.#running.delete(client);
    return client;
  }

  #commandOf(server: ServerName): { command: string; args: string[]; stderr: "ignore" | "inherit" } {
    const command = process.execPath;
    switch (server) {
      case "everything":
        return {
          command,
          args: [scriptOf("@modelcontextprotocol/server-everything", "mcp-server-everything")],
          stderr: "ignore",
        };
      case "filesystem": {
        const script = scriptOf("@modelcontextprotocol/server-filesystem", "mcp-server-filesystem");
        return { command, args: [script, this.files], stderr: "ignore" };
      }
      default: {
        const script = fileURLToPath(new URL("server.ts", import.meta.url));
        const flags = server === "billing" ? [] : ["--limited"];
        const args = ["--import", import.meta.resolve("tsx"), script, this.ledger.file, ...flags];
        return { command, args, stderr: "inherit" };
      }
    }
  }
}
