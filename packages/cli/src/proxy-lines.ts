import type { Writable } from "node:stream";
import { asBag, type Message } from "./proxy-messages.js";

/** In bytes. Room for the largest images and files that servers send as base64; more is a fault, not a message. */
export const MAX_LINE_BYTES: number = 64 * 1024 * 1024;

const LINE_FEED = 10;

/** What a {@link LineReader} finds. */
export interface LineSink {
  line(text: string): void;
  /** A line is longer than allowed; nothing is read any more. */
  overflow(): void;
}

/** Cuts a byte stream into lines, looking at each byte once. */
export class LineReader {
  #pieces: Buffer[] = [];
  #size = 0;
  #isOver = false;

  constructor(
    private readonly sink: LineSink,
    private readonly maxBytes: number = MAX_LINE_BYTES,
  ) {}

  push(chunk: Buffer): void {
    let start = 0;
    while (!this.#isOver) {
      const end = chunk.indexOf(LINE_FEED, start);
      this.#take(chunk.subarray(start, end < 0 ? chunk.length : end));
      if (end < 0 || this.#isOver) return;
      this.#emit();
      start = end + 1;
    }
  }

  #take(piece: Buffer): void {
    this.#size += piece.length;
    if (this.#size > this.maxBytes) {
      this.#isOver = true;
      this.#pieces = [];
      this.sink.overflow();
    } else if (piece.length > 0) this.#pieces.push(piece);
  }

  #emit(): void {
    const [only] = this.#pieces;
    const line = this.#pieces.length === 1 && only !== undefined ? only : Buffer.concat(this.#pieces);
    this.#pieces = [];
    this.#size = 0;
    const text = line.toString("utf8").trim();
    if (text !== "") this.sink.line(text);
  }
}

/** A message as it stood on its line. */
interface Original {
  readonly id: Message["id"];
  readonly text: string;
}

/**
 * The line that a message came on, by what is passed on unchanged: its result, else the message itself. So what is not touched
 * goes out byte for byte, also numbers that JavaScript would round.
 */
const originals = new WeakMap<object, Original>();

function identityOf(message: Message): object {
  const { result } = message;
  return typeof result === "object" && result !== null ? result : message;
}

function isMessage(value: unknown): value is Message {
  const bag = asBag(value);
  if (bag?.jsonrpc !== "2.0") return false;
  return typeof bag.method === "string" || ("id" in bag && ("result" in bag || "error" in bag));
}

/**
 * Reads a line: its message, or the messages of a batch, each of which goes its own way from here, so that no answer waits for
 * another. Nothing for what is no JSON-RPC.
 */
export function parseLine(text: string): readonly Message[] {
  try {
    const value: unknown = JSON.parse(text);
    if (Array.isArray(value)) return value.filter(isMessage);
    if (!isMessage(value)) return [];
    originals.set(identityOf(value), { id: value.id, text });
    return [value];
  } catch {
    return [];
  }
}

/** The text of a message, without a line end. */
export function textOfMessage(message: Message): string {
  const original = originals.get(identityOf(message));
  return original !== undefined && original.id === message.id ? original.text : JSON.stringify(message);
}

/** Writes messages to a stream, one a line. */
export class LineWriter {
  #isCongested = false;
  #last: Promise<void> = Promise.resolve();

  /** @param flow - told when the reader of the stream falls behind, and when it has caught up */
  constructor(
    private readonly stream: Writable,
    private readonly flow: (isFree: boolean) => void,
  ) {
    stream.on("drain", () => {
      this.#isCongested = false;
      this.flow(true);
    });
  }

  get isWritable(): boolean {
    return this.stream.writable;
  }

  /** Resolves when everything that was written has gone, or cannot go. */
  get flushed(): Promise<void> {
    return this.#last.catch(() => undefined);
  }

  write(message: Message): Promise<void> {
    this.#last = this.#write(message);
    return this.#last;
  }

  #write(message: Message): Promise<void> {
    return new Promise((resolve, reject) => {
      const isFree = this.stream.write(`${textOfMessage(message)}\n`, (error) => (error ? reject(error) : resolve()));
      if (isFree || this.#isCongested) return;
      this.#isCongested = true;
      this.flow(false);
    });
  }
}

const EXCERPT = 120;
const SAID_IN_FULL = 3;

/** Says what a peer writes that is no message, without repeating itself for ever. */
export class JunkReport {
  #count = 0;

  constructor(
    private readonly owner: string,
    private readonly onDiagnostic: (line: string) => void,
  ) {}

  note(text: string): void {
    this.#count += 1;
    if (this.#count <= SAID_IN_FULL)
      this.onDiagnostic(`ignored a line of ${this.owner} that is no JSON-RPC: ${excerpt(text)}`);
    else if (Number.isInteger(Math.log10(this.#count)))
      this.onDiagnostic(`ignored ${this.#count} lines of ${this.owner} that are no JSON-RPC`);
  }
}

function excerpt(text: string): string {
  const plain = text.slice(0, EXCERPT).replace(/\p{Cc}/gu, "?");
  return JSON.stringify(text.length > EXCERPT ? `${plain}…` : plain);
}
