import type { Message } from "./proxy-messages.js";

/** Why a connection to the server could not be made, or ended. */
export interface Loss {
  /** For people: `the server exited with code 1`. */
  readonly reason: string;
  /** What the proxy exits with when the server was never reached. */
  readonly exitCode: number;
  /** Whether trying again cannot help: the command does not exist. */
  readonly isPermanent?: boolean | undefined;
  /** Resolves when whatever the lost connection can still answer has been answered; at once by default. */
  readonly drained?: Promise<void> | undefined;
}

/** A connection to the server could not be made. */
export class LaunchError extends Error {
  override readonly name = "LaunchError";
  constructor(readonly loss: Loss) {
    super(loss.reason);
  }
}

/** What a connection tells whoever uses it. */
export interface LinkEvents {
  message(message: Message): void;
  /** The connection is gone; it says nothing any more. */
  lost(loss: Loss): void;
  /** Whether the server keeps up with what is sent to it. */
  flow(isFree: boolean): void;
  diagnostic(line: string): void;
}

/** One connection to the server: a child process, or a session over HTTP. */
export interface Link {
  readonly sessionId: string | undefined;
  /** Rejects with the code NOT_CONNECTED where it is certain that nothing left. */
  send(message: Message): Promise<void>;
  /** Ends it, and whatever was started for it; says nothing any more. */
  close(graceMs: number): Promise<void>;
  /** What was negotiated, for transports that say so with each request. */
  setProtocolVersion(version: string): void;
  /** Stops and goes on reading, where that is possible. */
  pause(): void;
  resume(): void;
}

/** Makes a connection. @throws LaunchError when it cannot be made */
export type OpenLink = (events: LinkEvents) => Promise<Link>;

/** Exit codes, after sysexits(3) and what shells use. */
export const EXIT = {
  ok: 0,
  failed: 1,
  unavailable: 69,
  protocol: 76,
  notExecutable: 126,
  notFound: 127,
} as const;
