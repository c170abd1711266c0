import { arch, cpus, platform } from "node:os";
import type { Provenance } from "./results.js";

/** Where figures come from. */
export function provenance(): Provenance {
  const processors = cpus();
  const model = processors[0]?.model.trim() ?? "";
  return {
    node: process.version,
    platform: `${platform()} ${arch()}`,
    cpu: `${processors.length} x ${model === "" ? "unknown" : model}`,
  };
}
