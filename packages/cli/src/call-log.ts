import { randomBytes } from "node:crypto";
import { appendFile, mkdir, readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { CallReport } from "@mcp-tx/core";
import type { ServerIdentity } from "./server-identity.js";

/** One call, as it is kept for `report`: no arguments, no results, no keys, no texts of errors. */
export interface CallEntry {
  /** When it ended, in milliseconds since the epoch. */
  readonly time: number;
  /** The server's label. */
  readonly server: string;
  readonly serverId: string;
  readonly tool: string;
  readonly status: CallReport["status"];
  readonly execution: CallReport["execution"];
  readonly attempts: number;
  readonly duplicate: boolean;
  readonly waitedMs: number;
  readonly durationMs?: number | undefined;
  readonly code?: string | undefined;
}

/** Bounds of what is kept. */
export interface CallLogLimits {
  /** Of one file. */
  readonly maxFileBytes: number;
  /** Of all files together, apart from those being written. */
  readonly maxTotalBytes: number;
  /** Of what waits to be written. */
  readonly maxQueuedBytes: number;
}

export const CALL_LOG_LIMITS: CallLogLimits = {
  maxFileBytes: 512 * 1024,
  maxTotalBytes: 8 * 1024 * 1024,
  maxQueuedBytes: 1024 * 1024,
};

const MAX_NAME = 128;

/** What is kept of a report. */
export function callEntry(report: CallReport, { id, label }: ServerIdentity, time: number): CallEntry {
  const { tool, status, execution, attempts, duplicate, waitedMs, durationMs, error } = report;
  return {
    time,
    server: label.slice(0, MAX_NAME),
    serverId: id,
    tool: tool.slice(0, MAX_NAME),
    status,
    execution,
    attempts,
    duplicate,
    waitedMs: Math.round(waitedMs),
    durationMs: durationMs === undefined ? undefined : Math.round(durationMs),
    code: error?.code,
  };
}

/** Where the files are. */
export function callLogFolder(stateFolder: string): string {
  return join(stateFolder, "calls");
}

/**
 * Appends calls to files of this process alone, so that proxies at work side by side never wait for each other, and what a killed one
 * leaves is whole but for its last line. Whatever goes wrong here is no call's concern.
 */
export class CallLog {
  readonly #folder: string;
  readonly #limits: CallLogLimits;
  #queue: string[] = [];
  #queuedBytes = 0;
  #file: string | undefined;
  #fileBytes = 0;
  #writing: Promise<void> | undefined;
  /** Calls that could not be kept. */
  dropped = 0;

  constructor(folder: string, limits: CallLogLimits = CALL_LOG_LIMITS) {
    this.#folder = folder;
    this.#limits = limits;
  }

  add(entry: CallEntry): void {
    const line = `${JSON.stringify(entry)}\n`;
    if (this.#queuedBytes + line.length > this.#limits.maxQueuedBytes) {
      this.dropped += 1;
      return;
    }
    this.#queue.push(line);
    this.#queuedBytes += line.length;
    this.#writing ??= this.#drain().finally(() => {
      this.#writing = undefined;
    });
  }

  /** Resolves when everything is written that can be. */
  async close(): Promise<void> {
    while (this.#writing !== undefined) await this.#writing;
  }

  async #drain(): Promise<void> {
    while (this.#queue.length > 0) {
      const lines = this.#queue;
      this.#queue = [];
      this.#queuedBytes = 0;
      try {
        await this.#append(lines.join(""));
      } catch {
        this.dropped += lines.length;
        this.#file = undefined;
      }
    }
  }

  async #append(text: string): Promise<void> {
    const file = this.#file ?? (await this.#nextFile());
    this.#file = file;
    await appendFile(file, text, { mode: 0o600 });
    this.#fileBytes += Buffer.byteLength(text);
    if (this.#fileBytes >= this.#limits.maxFileBytes) this.#file = undefined;
  }

  async #nextFile(): Promise<string> {
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    await prune(this.#folder, this.#limits.maxTotalBytes);
    this.#fileBytes = 0;
    // Names in the order of time, also those of processes that begin at once.
    const time = String(Date.now()).padStart(15, "0");
    return join(this.#folder, `${time}-${process.pid}-${randomBytes(4).toString("hex")}.jsonl`);
  }
}

/** The files of all proxies, the oldest first. */
export async function callLogFiles(folder: string): Promise<readonly string[]> {
  const names = await readdir(folder);
  return names
    .filter((name) => name.endsWith(".jsonl"))
    .sort()
    .map((name) => join(folder, name));
}

interface Kept {
  readonly file: string;
  readonly bytes: number;
  readonly changedMs: number;
}

async function kept(file: string): Promise<readonly Kept[]> {
  try {
    const { size, mtimeMs } = await stat(file);
    return [{ file, bytes: size, changedMs: mtimeMs }];
  } catch {
    // Another proxy has removed it.
    return [];
  }
}

/** Removes what was written longest ago, beyond a total. A file that is still written to is made anew by its owner. */
async function prune(folder: string, maxTotalBytes: number): Promise<void> {
  const files = (await Promise.all((await callLogFiles(folder)).toReversed().map(kept))).flat();
  let total = 0;
  for (const { file, bytes } of files.sort((left, right) => right.changedMs - left.changedMs)) {
    total += bytes;
    // What cannot be removed now is the next one's.
    if (total > maxTotalBytes) await rm(file, { force: true }).catch(() => undefined);
  }
}
