import { hash } from "node:crypto";
import { canonicalJson } from "./canonical.js";

/** SHA-256 of a text, in hexadecimal. */
export function sha256(text: string): string {
  return hash("sha256", text, "hex");
}

/**
 * What makes two calls the same call: SHA-256 of the canonical JSON of their arguments.
 *
 * @throws TypeError naming the place of what JSON cannot hold
 */
export function fingerprintOf(args: unknown): string {
  return sha256(canonicalJson(args, "arguments"));
}
