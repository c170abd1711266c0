// A workerd process that serves one module on a free port of the loopback interface.
import { spawn } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";

const STARTS_WITHIN_MS = 30_000;

const configOf = ({ file, date, flags }) => `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "main", worker = .worker)],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")],
);
const worker :Workerd.Worker = (
  modules = [(name = "worker", esModule = embed "${file}")],
  compatibilityDate = "${date}",
  compatibilityFlags = ${JSON.stringify(flags)},
);
`;

/**
 * @param {string} workerd @param {string} cwd @param {{ file: string, date: string, flags: readonly string[] }} settings
 * @returns {Promise<{ port: number, stop(): Promise<void> }>} Rejects with what it printed when it does not start.
 */
export async function startWorker(workerd, cwd, settings) {
  await writeFile(join(cwd, "worker.capnp"), configOf(settings));
  const child = spawn(workerd, ["serve", "worker.capnp", "--control-fd=3"], {
    cwd,
    stdio: ["ignore", "pipe", "pipe", "pipe"],
  });
  const exited = new Promise((resolve) => child.once("exit", resolve));
  let output = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (output += chunk));
  const stop = async () => {
    child.kill("SIGKILL");
    await exited;
  };
  const listening = new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("workerd does not listen")), STARTS_WITHIN_MS);
    exited.then(() => reject(new Error(`workerd ended: ${output}`)));
    let told = "";
    child.stdio[3].on("data", (chunk) => {
      told += chunk;
      const port = /"port":\s*(\d+)/.exec(told)?.[1];
      if (port !== undefined) resolve(Number(port));
    });
    exited.finally(() => clearTimeout(timer));
    child.stdio[3].once("data", () => clearTimeout(timer));
  });
  try {
    return { port: await listening, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}
