import { homedir } from "node:os";
import envPaths from "env-paths";

/** Where the command runs. Tests inject another machine. */
export interface Surroundings {
  readonly platform: NodeJS.Platform;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly home: string;
  readonly cwd: string;
  /** Where this tool keeps what it must not forget: `~/.local/share/mcp-tx` and its likes. */
  readonly stateFolder: string;
  /** Where a configuration for all servers of this user is looked for. */
  readonly configFolder: string;
}

/** Where lines go. */
export interface Output {
  /** A line of the answer, to stdout. */
  out(line: string): void;
  /** A line for people, to stderr. */
  err(line: string): void;
}

/** The machine that this process runs on. */
export function thisMachine(): Surroundings {
  const { data, config } = envPaths("mcp-tx", { suffix: "" });
  return {
    platform: process.platform,
    env: process.env,
    home: homedir(),
    cwd: process.cwd(),
    // Not the folder for logs, which macOS and cleaners empty: what is in here keeps calls from happening twice.
    stateFolder: data,
    configFolder: config,
  };
}
