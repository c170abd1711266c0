import { type ChildProcessByStdio, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import type { Readable, Writable } from "node:stream";
import { JunkReport, LineReader, LineWriter, MAX_LINE_BYTES, parseLine } from "./proxy-lines.js";
import { type Message, notConnected } from "./proxy-messages.js";
import { commandLine } from "./upstream-command.js";
import { EXIT, LaunchError, type Link, type LinkEvents, type Loss, type OpenLink } from "./upstream-link.js";
import { stopTree, tie } from "./upstream-process.js";

/** The server to start. */
export interface Command {
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>> | undefined;
  readonly cwd?: string | undefined;
}

type Child = ChildProcessByStdio<Writable, Readable, null>;

/** How long an exited child's last words may take to arrive: what it started may hold its output open for ever. */
const LAST_WORDS_MS = 50;

/** What Node says of a program that cannot be started. */
const LAUNCH_FAILURES: Readonly<Record<string, readonly [what: string, exitCode: number]>> = {
  ENOENT: ["was not found; check the name and PATH", EXIT.notFound],
  EACCES: ["may not be executed; check its permissions", EXIT.notExecutable],
  EPERM: ["may not be executed; check its permissions", EXIT.notExecutable],
};

function launchLoss({ command, cwd }: Command, error: NodeJS.ErrnoException): Loss {
  // Node reports a missing working directory as a missing command.
  if (error.code === "ENOENT" && cwd !== undefined && !existsSync(cwd))
    return { reason: `the working directory "${cwd}" does not exist`, exitCode: EXIT.failed, isPermanent: true };
  const known = LAUNCH_FAILURES[error.code ?? ""];
  if (known === undefined)
    return { reason: `the command "${command}" could not be started: ${error.message}`, exitCode: EXIT.failed };
  const [what, exitCode] = known;
  return { reason: `the command "${command}" ${what}`, exitCode, isPermanent: true };
}

function start(spec: Command): Promise<Child> {
  const { file, args, verbatim } = commandLine(spec.command, spec.args);
  return new Promise((resolve, reject) => {
    const refuse = (error: Error): void => reject(new LaunchError(launchLoss(spec, error)));
    try {
      const child = spawn(file, args, {
        cwd: spec.cwd,
        env: { ...process.env, ...spec.env },
        // Its messages for people go where ours go.
        stdio: ["pipe", "pipe", "inherit"],
        // A process group of its own, so that what it starts ends with it.
        detached: process.platform !== "win32",
        windowsHide: true,
        windowsVerbatimArguments: verbatim,
      });
      child.once("error", refuse);
      child.once("spawn", () => {
        child.off("error", refuse);
        // A child that cannot be signalled has ended: "exit" tells.
        child.on("error", () => undefined);
        resolve(child);
      });
    } catch (error) {
      // Arguments that cannot be passed on, such as one with a null byte.
      refuse(error as Error);
    }
  });
}

function describeExit(code: number | null, signal: NodeJS.Signals | null): string {
  return signal === null ? `the server exited with code ${code}` : `the server was ended by ${signal}`;
}

class StdioLink implements Link {
  readonly sessionId: undefined = undefined;
  readonly #child: Child;
  readonly #events: LinkEvents;
  readonly #writer: LineWriter;
  #isOver = false;
  #lastRead = 0;

  constructor(child: Child, events: LinkEvents) {
    this.#child = child;
    this.#events = events;
    this.#writer = new LineWriter(child.stdin, (isFree) => this.#tell(() => events.flow(isFree)));
    this.#listen();
  }

  #listen(): void {
    const child = this.#child;
    const junk = new JunkReport("the server", this.#events.diagnostic);
    const reader = new LineReader({
      line: (text) => {
        const messages = parseLine(text);
        if (messages.length === 0) junk.note(text);
        for (const message of messages) this.#tell(() => this.#events.message(message));
      },
      overflow: () => {
        const limit = MAX_LINE_BYTES / 1024 / 1024;
        this.#lose({ reason: `the server wrote a line of more than ${limit} MiB`, exitCode: EXIT.protocol });
      },
    });
    child.stdout.on("data", (chunk: Buffer) => {
      this.#lastRead = performance.now();
      reader.push(chunk);
    });
    // Writing to a child that has ended fails; "exit" tells.
    child.stdin.on("error", () => undefined);
    child.stdout.on("error", () => undefined);
    child.stdout.once("end", () => this.#afterEnd());
    child.once("exit", (code, signal) =>
      this.#afterExit({ reason: describeExit(code, signal), exitCode: EXIT.failed }),
    );
  }

  /** The output is closed: the exit, if that is why, is about to be heard of. */
  #afterEnd(): void {
    const loss: Loss = { reason: "the server closed its output", exitCode: EXIT.failed };
    setTimeout(() => this.#lose(loss), LAST_WORDS_MS).unref();
  }

  #afterExit(loss: Loss): void {
    if (this.#child.stdout.readableEnded) this.#lose(loss);
    else this.#child.stdout.once("end", () => this.#lose(loss));
    const wait = (): void => {
      const left = this.#lastRead + LAST_WORDS_MS - performance.now();
      if (left <= 0) this.#lose(loss);
      else setTimeout(wait, left);
    };
    setTimeout(wait, LAST_WORDS_MS);
  }

  #lose(loss: Loss): void {
    this.#tell(() => {
      this.#isOver = true;
      void stopTree(this.#child, 0);
      this.#events.lost(loss);
    });
  }

  #tell(event: () => void): void {
    if (!this.#isOver) event();
  }

  send(message: Message): Promise<void> {
    if (this.#isOver || !this.#writer.isWritable) return Promise.reject(notConnected("The server has ended"));
    return this.#writer.write(message);
  }

  async close(graceMs: number): Promise<void> {
    this.#isOver = true;
    // Whatever it still says must be read, or it may wait for its reader for ever.
    this.#child.stdout.resume();
    await stopTree(this.#child, graceMs);
    this.#child.stdout.destroy();
  }

  setProtocolVersion(): void {
    // Nothing says so over standard streams.
  }

  pause(): void {
    this.#child.stdout.pause();
  }

  resume(): void {
    this.#child.stdout.resume();
  }
}

/** Starts the server anew with each connection. */
export function stdioLinks(command: Command): OpenLink {
  return async (events) => {
    const child = await start(command);
    tie(child);
    return new StdioLink(child, events);
  };
}
