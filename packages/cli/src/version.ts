import { readFileSync } from "node:fs";

/** The version of this package. Its package.json is one folder above, from the sources as from what is built. */
export const VERSION: string = readVersion();

function readVersion(): string {
  const manifest: unknown = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
  return String((manifest as { readonly version?: unknown }).version);
}
