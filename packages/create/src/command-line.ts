import { relative } from "node:path";
import { Command, CommanderError } from "commander";
import { createMiddlewarePackage } from "./create.js";

/** Where a command line writes to. */
export interface Output {
  readonly out: (text: string) => void;
  readonly err: (text: string) => void;
}

function nextSteps(directory: string): string {
  const place = relative(process.cwd(), directory);
  const steps = [...(place === "" ? [] : [`cd ${place}`]), "npm install", "npm test"];
  return steps.map((step) => `  ${step}\n`).join("");
}

/** Runs the command; resolves with its exit code. */
export async function runCommandLine(args: readonly string[], version: string, { out, err }: Output): Promise<number> {
  const command = new Command("create-mcp-tx")
    .description("Starts a package with a middleware of your own for mcp-tx.")
    .argument("<name>", 'name of the package, such as "mcp-audit" or "@acme/mcp-audit"')
    .option("-d, --directory <path>", "folder to write to (default: the last part of the name)")
    .version(version)
    .exitOverride()
    .configureOutput({ writeOut: out, writeErr: err })
    .action(async (name: string, { directory }: { readonly directory?: string }) => {
      const created = await createMiddlewarePackage({ name, directory });
      out(`Wrote ${created.files.length} files for ${name}:\n`);
      for (const file of created.files) out(`  ${file}\n`);
      out(`\nNext:\n${nextSteps(created.directory)}`);
    });
  try {
    await command.parseAsync(args, { from: "user" });
    return 0;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode;
    err(`error: ${error instanceof Error ? error.message : String(error)}\n`);
    return 1;
  }
}
