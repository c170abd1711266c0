import { type ChildProcess, spawn } from "node:child_process";

/** Children that are alive, to be ended with this process whatever ends it. */
const alive = new Set<ChildProcess>();
let isWatchingExit = false;

/** Makes sure that a child started by us does not outlive this process. */
export function tie(child: ChildProcess): void {
  alive.add(child);
  child.once("exit", () => alive.delete(child));
  if (isWatchingExit) return;
  isWatchingExit = true;
  process.on("exit", () => {
    for (const left of alive) signalTree(left, "SIGKILL");
  });
}

/** Signals a child and what it started. The child leads a process group of its own, see `detached`. */
export function signalTree(child: ChildProcess, signal: NodeJS.Signals): void {
  const { pid } = child;
  if (pid === undefined) return;
  if (process.platform === "win32") {
    // Windows has no groups, and no signals but the hard one.
    spawn("taskkill", ["/pid", String(pid), "/T", "/F"], { stdio: "ignore", windowsHide: true }).on("error", ignore);
    return;
  }
  try {
    process.kill(-pid, signal);
  } catch {
    // Nobody is left.
  }
}

function ignore(): void {}

export function hasExited(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null || child.pid === undefined;
}

function exited(child: ChildProcess, withinMs: number): Promise<boolean> {
  if (hasExited(child)) return Promise.resolve(true);
  return new Promise((resolve) => {
    const timer = setTimeout(() => done(false), withinMs);
    const onExit = (): void => done(true);
    function done(isOver: boolean): void {
      clearTimeout(timer);
      child.off("exit", onExit);
      resolve(isOver);
    }
    child.once("exit", onExit);
  });
}

/** Longer than the system takes to end a process that it was told to. */
const KILLED_WITHIN_MS = 2000;

/** Ends a child and what it started: politely by closing its input, then by SIGTERM, then for good. */
export async function stopTree(child: ChildProcess, graceMs: number): Promise<void> {
  child.stdin?.end();
  if (!(await exited(child, graceMs))) {
    signalTree(child, "SIGTERM");
    if (!(await exited(child, graceMs))) signalTree(child, "SIGKILL");
    await exited(child, KILLED_WITHIN_MS);
  }
  // What it started and left behind.
  signalTree(child, "SIGKILL");
}
