/** What to start: on Windows most commands (`npx`) are scripts, which only the command processor can start. */
export interface CommandLine {
  readonly file: string;
  readonly args: readonly string[];
  /** Whether the arguments are quoted already. */
  readonly verbatim: boolean;
}

const META_CHARACTERS = /([()\][%!^"`<>&|;, *?])/g;

/** Quotes an argument for the program that parses it, and then for the command processor, which reads the line first. */
function quoted(argument: string): string {
  const forProgram = `"${argument.replace(/(\\*)"/g, '$1$1\\"').replace(/(\\*)$/, "$1$1")}"`;
  const forShell = forProgram.replace(META_CHARACTERS, "^$1");
  // A script's own line is read once more.
  return forShell.replace(META_CHARACTERS, "^$1");
}

/** The command line of a command, for a platform. */
export function commandLine(
  command: string,
  args: readonly string[],
  platform: NodeJS.Platform = process.platform,
): CommandLine {
  if (platform !== "win32" || /\.(?:com|exe)$/i.test(command)) return { file: command, args, verbatim: false };
  const line = [command.replace(META_CHARACTERS, "^$1"), ...args.map(quoted)].join(" ");
  return { file: process.env["ComSpec"] ?? "cmd.exe", args: ["/d", "/s", "/c", `"${line}"`], verbatim: true };
}
