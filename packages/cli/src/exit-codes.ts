/** What the command exits with, after sysexits(3) and what shells use. What the proxy itself ends with is in `upstream-link.ts`. */
export const EXIT_CODES = {
  ok: 0,
  failed: 1,
  /** The command line is wrong. */
  usage: 2,
  /** A configuration, or the store, cannot be used. */
  config: 78,
} as const;

/** Something the user can put right: its message is all that is shown. */
export class CliError extends Error {
  override readonly name = "CliError";
  constructor(
    message: string,
    readonly exitCode: number = EXIT_CODES.failed,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** A mistake on the command line. */
export function usageError(message: string): CliError {
  return new CliError(message, EXIT_CODES.usage);
}

/** What an error says, in one line. */
export function sayError(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return message.replaceAll(/\s*[\r\n]+\s*/g, " ").trim();
}
