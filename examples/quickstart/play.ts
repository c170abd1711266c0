import { Printer } from "./print.js";
import type { Line, Scene } from "./scene.js";
import { Servers } from "./servers.js";
import { Stage } from "./stage.js";

/** The whole demo takes a few seconds; whatever hangs is a failure. */
const LIMIT_MS = 55_000;

interface Take {
  readonly stage: Stage;
  readonly line: Line;
  /** What the scene threw, when it did not get to its end. */
  readonly broken: { readonly error: unknown } | undefined;
}

async function perform(scene: Scene, line: Line, job: string, servers: Servers): Promise<Take> {
  const stage = new Stage(line, job, servers);
  try {
    await scene.play(stage);
    if (stage.verdicts.length === 0) throw new Error("The scene claims nothing.");
    return { stage, line, broken: undefined };
  } catch (error) {
    return { stage, line, broken: { error } };
  }
}

function show(printer: Printer, { stage, line, broken }: Take): number {
  for (const verdict of stage.verdicts) printer.verdict(line, verdict);
  if (broken !== undefined) printer.failure(line, broken.error);
  return stage.verdicts.filter(({ mismatches }) => mismatches.length > 0).length + (broken === undefined ? 0 : 1);
}

/** Ends the process, and with it every server, when somebody stops the demo or it hangs. */
function guard(): () => void {
  const interrupt = (): void => process.exit(130);
  const terminate = (): void => process.exit(143);
  const expire = (): void => {
    process.stderr.write(`The demo did not end within ${LIMIT_MS / 1000} s.\n`);
    process.exit(1);
  };
  const timer = setTimeout(expire, LIMIT_MS);
  process.once("SIGINT", interrupt).once("SIGTERM", terminate);
  return () => {
    clearTimeout(timer);
    process.off("SIGINT", interrupt).off("SIGTERM", terminate);
  };
}

/** Plays the scenes one after the other; returns the exit code: 0 only when everything was as the scenes claim. */
export async function play(scenes: readonly Scene[]): Promise<number> {
  const startedAt = performance.now();
  const release = guard();
  const printer = new Printer(process.stdout);
  const servers = new Servers();
  let calls = 0;
  let failures = 0;
  try {
    for (const [index, scene] of scenes.entries()) {
      printer.scene(index + 1, scene);
      const takes = await Promise.all(scene.lines.map((line) => perform(scene, line, `${index + 1}/${line}`, servers)));
      for (const take of takes) {
        calls += take.stage.verdicts.length;
        failures += show(printer, take);
      }
    }
  } finally {
    await servers.close();
    release();
  }
  // A demo that shows nothing proves nothing.
  if (calls === 0) failures += 1;
  printer.summary(scenes.length, calls, failures, performance.now() - startedAt);
  return failures === 0 ? 0 : 1;
}
