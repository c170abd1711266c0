#!/usr/bin/env node
import { runCli } from "./cli.js";
import { thisMachine } from "./surroundings.js";

/** Enough for pipes to empty; whoever holds the process longer has been told to end. */
const LINGER_MS = 2000;

// Whoever reads them may be gone, which is no reason to fail: what was to be done is done.
process.stdout.on("error", () => undefined);
process.stderr.on("error", () => undefined);

const listeners = process.listeners("warning");
process.removeAllListeners("warning");
process.on("warning", (warning) => {
  // Some lines of Node call `node:sqlite` experimental, in words that mean nothing to whoever reads the log of a host.
  if (warning.name === "ExperimentalWarning" && warning.message.includes("SQLite")) return;
  for (const listener of listeners) listener(warning);
});

process.exitCode = await runCli(process.argv.slice(2), thisMachine(), {
  out: (line) => process.stdout.write(`${line}\n`),
  err: (line) => process.stderr.write(`${line}\n`),
});
setTimeout(() => process.exit(), LINGER_MS).unref();
