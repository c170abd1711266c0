import type { InitRequest, init } from "./init.js";
import { recordedOutput, type TestMachine } from "./machine.fixture.js";

const ALL: InitRequest = { hosts: [], servers: [], files: [], isDryRun: false };

/** What a run of `init` or `undo` came to. */
export interface InitRun {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `init` or `undo` on a machine; on everything that is there, unless told otherwise. */
export async function runOn(
  work: typeof init,
  machine: TestMachine,
  request: Partial<InitRequest> = {},
): Promise<InitRun> {
  const output = recordedOutput();
  const code = await work({ ...ALL, ...request }, machine.where, output);
  return { code, stdout: output.stdout.join("\n"), stderr: output.stderr.join("\n") };
}
