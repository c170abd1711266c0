import type { Readable, Writable } from "node:stream";
import { setTimeout as sleep } from "node:timers/promises";
import type { HostChannel } from "./downstream.js";
import { JunkReport, LineReader, LineWriter, MAX_LINE_BYTES, parseLine } from "./proxy-lines.js";
import type { Message } from "./proxy-messages.js";
import { EXIT } from "./upstream-link.js";

/** How long the last answers have to reach a host that may not read any more. */
const FLUSH_MS = 500;

/** The host that started this process, on its standard streams. */
export class StdioHost implements HostChannel {
  onmessage: HostChannel["onmessage"];
  onclose: HostChannel["onclose"];
  onflow: HostChannel["onflow"];
  readonly #input: Readable;
  readonly #writer: LineWriter;
  #isOver = false;

  constructor(
    private readonly onDiagnostic: (line: string) => void,
    input: Readable = process.stdin,
    output: Writable = process.stdout,
  ) {
    this.#input = input;
    this.#writer = new LineWriter(output, (isFree) => this.onflow?.(isFree));
    // The host is gone, whether it closed its end or was killed.
    output.on("error", () => this.#leave());
  }

  start(): void {
    const junk = new JunkReport("the host", this.onDiagnostic);
    const reader = new LineReader({
      line: (text) => {
        const messages = parseLine(text);
        if (messages.length === 0) junk.note(text);
        for (const message of messages) this.onmessage?.(message);
      },
      overflow: () => {
        const limit = MAX_LINE_BYTES / 1024 / 1024;
        this.#leave({ reason: `the host wrote a line of more than ${limit} MiB`, exitCode: EXIT.protocol });
      },
    });
    this.#input.on("data", (chunk: Buffer) => reader.push(chunk));
    this.#input.once("end", () => this.#leave());
    this.#input.once("close", () => this.#leave());
    this.#input.once("error", () => this.#leave());
  }

  #leave(loss?: { readonly reason: string; readonly exitCode: number }): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.onclose?.(loss);
  }

  send(message: Message): Promise<void> {
    return this.#writer.write(message);
  }

  flow(isFree: boolean): void {
    if (isFree) this.#input.resume();
    else this.#input.pause();
  }

  async close(): Promise<void> {
    this.#isOver = true;
    this.#input.destroy();
    const over = new AbortController();
    const late = sleep(FLUSH_MS, undefined, { signal: over.signal }).catch(() => undefined);
    await Promise.race([this.#writer.flushed, late]);
    over.abort();
  }
}
