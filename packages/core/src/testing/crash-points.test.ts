import { execFile } from "node:child_process";
import { expect, test } from "vitest";
import { crashPoints, forEachCrashPoint, SimulatedCrash } from "./crash-points.js";

test("dies once at each point the scenario reaches, and lists them", async () => {
  const survived: string[][] = [];
  const crashes: string[] = [];
  const points = await forEachCrashPoint(
    async (crash) => {
      const done: string[] = [];
      survived.push(done);
      for (const name of ["intent", "effect", "record"]) {
        crash.point(name);
        done.push(name);
        await Promise.resolve();
      }
    },
    { onCrash: ({ point, index }) => crashes.push(`${index} ${point}`) },
  );
  expect(points).toEqual(["intent", "effect", "record"]);
  expect(crashes).toEqual(["1 intent", "2 effect", "3 record"]);
  expect(survived).toEqual([[], ["intent"], ["intent", "effect"], ["intent", "effect", "record"]]);
});

test("finds a scenario that loses an effect between two points", async () => {
  const find = async (): Promise<void> => {
    let effects = 0;
    let recorded = 0;
    await forEachCrashPoint(
      (crash) => {
        effects = 0;
        recorded = 0;
        effects += 1;
        crash.point("between effect and record");
        recorded += 1;
      },
      {
        onCrash: ({ point }) => {
          if (effects !== recorded) throw new Error(`lost at ${point}`);
        },
      },
    );
  };
  await expect(find()).rejects.toThrow("lost at between effect and record");
});

test("does not let code that swallows the crash reach a later point", async () => {
  const reached: string[] = [];
  await forEachCrashPoint((crash) => {
    for (const name of ["a", "b"]) {
      try {
        crash.point(name);
        reached.push(name);
      } catch {
        // What a dead process cannot do.
      }
    }
  });
  expect(reached).toEqual(["a", "a", "b"]);
});

test("passes on an error that is no crash", async () => {
  const error = new Error("bug");
  await expect(
    forEachCrashPoint(() => {
      throw error;
    }),
  ).rejects.toBe(error);
});

test("lists the points of a run that lives", () => {
  const crash = crashPoints();
  crash.point("a");
  expect([crash.visited, crash.crashedAt]).toEqual([["a"], undefined]);
  expect(() => crashPoints(1).point("a")).toThrow(SimulatedCrash);
});

function crashingProcess(at: string | undefined): Promise<{ readonly signal: unknown; readonly output: string }> {
  const source = new URL("./crash-points.ts", import.meta.url).href;
  const script = `
    import { crashAt } from ${JSON.stringify(source)};
    for (const name of ["intent", "effect"]) { process.stdout.write(name + " "); crashAt(name); }`;
  const options = { env: { ...process.env, MCP_TX_CRASH_AT: at }, cwd: import.meta.dirname };
  return new Promise((resolve) => {
    execFile(process.execPath, ["--import", "tsx", "--input-type=module", "-e", script], options, (error, stdout) =>
      resolve({ signal: error?.signal, output: stdout.trim() }),
    );
  });
}

test("kills a real process at the point named or numbered in the environment", async () => {
  expect(await Promise.all([crashingProcess("intent"), crashingProcess("2"), crashingProcess(undefined)])).toEqual([
    { signal: "SIGKILL", output: "intent" },
    { signal: "SIGKILL", output: "intent effect" },
    { signal: undefined, output: "intent effect" },
  ]);
});
