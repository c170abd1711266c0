import { type CommandLineContext, parseCommandLine, type Request } from "./command-line.js";
import { doctor } from "./doctor.js";
import { CliError, EXIT_CODES, sayError } from "./exit-codes.js";
import { init } from "./init.js";
import { report } from "./report.js";
import { serve } from "./serve.js";
import type { Output, Surroundings } from "./surroundings.js";
import { undo } from "./undo.js";
import { VERSION } from "./version.js";

/** Control characters, with which a name in somebody's file could take a terminal over. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const CONTROL = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g;

function carryOut(asked: Request, where: Surroundings, output: Output): Promise<number> | number {
  switch (asked.kind) {
    case "serve":
      return serve(asked.request, where, output);
    case "init":
      return init(asked.request, where, output);
    case "undo":
      return undo(asked.request, where, output);
    case "doctor":
      return doctor(asked.request, where, output);
    case "report":
      return report(asked.request, where, output);
    case "told":
      return EXIT_CODES.ok;
  }
}

function withoutControl({ out, err }: Output): Output {
  const clean = (line: string): string => line.replaceAll(CONTROL, "?");
  return { out: (line) => out(clean(line)), err: (line) => err(clean(line)) };
}

/**
 * Does what a command line says.
 *
 * @param args - without the names of Node and of the program
 * @returns the exit code; never rejects
 */
export async function runCli(args: readonly string[], where: Surroundings, output: Output): Promise<number> {
  const safe = withoutControl(output);
  const write = (text: string): void => output.out(text.trimEnd());
  const context: CommandLineContext = { env: where.env, version: VERSION, now: Date.now(), write };
  try {
    return await carryOut(parseCommandLine(args, context), where, safe);
  } catch (error) {
    safe.err(`mcp-tx: ${sayError(error)}`);
    return error instanceof CliError ? error.exitCode : EXIT_CODES.failed;
  }
}
