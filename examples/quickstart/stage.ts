import { setTimeout as sleep } from "node:timers/promises";
import { type CallListener, reportOf, type ToolResult, textOf } from "@mcp-tx/core";
// For the types of its events.
import "@mcp-tx/retry";
import type { Client as ClientV2 } from "@modelcontextprotocol/client";
import type { Client as ClientV1 } from "@modelcontextprotocol/sdk/client/index.js";
import { type Expected, type Line, mismatchesOf, type Seen, type Verdict } from "./scene.js";
import type { AnyClient, ServerName, Servers } from "./servers.js";

function textOfValue(value: unknown): string {
  if (typeof value === "string") return value;
  const isResult = typeof value === "object" && value !== null && "content" in value;
  return isResult ? textOf(value as ToolResult) : JSON.stringify(value);
}

function nameOf(error: unknown): string {
  return error instanceof Error ? error.name : String(error);
}

/** What a scene plays on: servers to call, a notebook of what happens, and expectations. One for each line of each scene. */
export class Stage {
  readonly verdicts: Verdict[] = [];
  #trail: (string | number)[] = [];

  constructor(
    readonly line: Line,
    /** Names this scene's work, on the server too. */
    readonly job: string,
    readonly servers: Servers,
  ) {}

  /** Give this to a wrapper as `onEvent`, so that its calls are noted. */
  readonly onEvent: CallListener = (name, detail) => {
    if (name === "attempt.end" && "outcome" in detail) this.#trail.push(detail.outcome.code ?? detail.outcome.status);
    if (name === "retry.scheduled" && "delayMs" in detail) this.#trail.push(detail.delayMs);
  };

  /** A client of this stage's SDK line, connected to a server that the scenes share. */
  client(server: ServerName): Promise<AnyClient> {
    return this.line === "SDK v1" ? this.clientV1(server) : this.clientV2(server);
  }

  clientV1(server: ServerName): Promise<ClientV1> {
    return this.servers.sharedV1(server);
  }

  clientV2(server: ServerName): Promise<ClientV2> {
    return this.servers.sharedV2(server);
  }

  /** As {@link client}, with a server process of its own. */
  ownClient(server: ServerName): Promise<AnyClient> {
    return this.line === "SDK v1" ? this.servers.startV1(server) : this.servers.startV2(server);
  }

  /** Tells whether an answer with this text has reached a client too late: both SDKs report it as an error, quoting it. */
  async lateAnswer(server: ServerName, text: string): Promise<() => boolean> {
    const client = await this.client(server);
    let hasArrived = false;
    client.onerror = ({ message }) => {
      hasArrived ||= message.includes(text);
    };
    return () => hasArrived;
  }

  /** Watches one call: what came back or was thrown, its report and its trail. */
  async watch(call: string, start: () => Promise<unknown>): Promise<Seen> {
    this.#trail = [];
    const startedAt = performance.now();
    const [ended] = await Promise.allSettled([start()]);
    const elapsedMs = performance.now() - startedAt;
    const value = ended.status === "fulfilled" ? ended.value : undefined;
    const error: unknown = ended.status === "rejected" ? ended.reason : undefined;
    const answer = ended.status === "fulfilled" ? textOfValue(value) : nameOf(error);
    return { call, trail: this.#trail, answer, report: reportOf(value ?? error), value, error, elapsedMs };
  }

  /** Compares a call with what the scene claims about it. */
  expect(seen: Seen, expected: Expected): void {
    const executions = expected.executions === undefined ? undefined : this.servers.ledger.executions(this.job);
    this.verdicts.push({ seen, executions, mismatches: mismatchesOf(seen, executions, expected) });
  }

  /** Waits until the billing server says that something happened. */
  async until(happened: () => boolean): Promise<void> {
    const giveUpAt = performance.now() + 5000;
    while (!happened()) {
      if (performance.now() > giveUpAt) throw new Error("What the scene waits for did not happen within 5 s.");
      await sleep(5);
    }
  }
}
