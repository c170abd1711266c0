import { chmod, mkdir, mkdtemp, readFile, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { onTestFinished } from "vitest";
import type { Output, Surroundings } from "./surroundings.js";

/** A machine of its own below a temporary folder. */
export interface TestMachine {
  readonly where: Surroundings;
  readonly root: string;
  /** Paths are relative to the root. */
  write(path: string, text: string, mode?: number): Promise<string>;
  read(path: string): Promise<string>;
}

/** @param platform - whose paths are used; the files are on this machine all the same */
export async function testMachine(platform: NodeJS.Platform = "linux"): Promise<TestMachine> {
  const root = await realpath(await mkdtemp(join(tmpdir(), "mcp-tx-cli-")));
  onTestFinished(() => rm(root, { recursive: true, force: true }));
  const where: Surroundings = {
    platform,
    env: { PATH: join(root, "bin") },
    home: join(root, "home"),
    cwd: join(root, "project"),
    stateFolder: join(root, "state"),
    configFolder: join(root, "config"),
  };
  return {
    where,
    root,
    async write(path, text, mode) {
      const full = join(root, path);
      await mkdir(dirname(full), { recursive: true });
      await writeFile(full, text);
      if (mode !== undefined) await chmod(full, mode);
      return full;
    },
    read: (path) => readFile(join(root, path), "utf8"),
  };
}

/** Keeps what is said. */
export function recordedOutput(): Output & { readonly stdout: string[]; readonly stderr: string[] } {
  const stdout: string[] = [];
  const stderr: string[] = [];
  return { stdout, stderr, out: (line) => void stdout.push(line), err: (line) => void stderr.push(line) };
}
