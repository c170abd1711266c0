#!/usr/bin/env node
import { readFile } from "node:fs/promises";
import { runCommandLine } from "./command-line.js";

const manifest: unknown = JSON.parse(await readFile(new URL("../package.json", import.meta.url), "utf8"));
const { version } = manifest as { readonly version: string };
process.exitCode = await runCommandLine(process.argv.slice(2), version, {
  out: (text) => void process.stdout.write(text),
  err: (text) => void process.stderr.write(text),
});
