import { defineConfig } from "tsup";
import { bundleEntries, readPackage } from "./scripts/package-entries.mjs";

/** The one build of every package: entries come from `exports`, declarations from `tsc`. */
export default defineConfig({
  entry: bundleEntries(readPackage(process.cwd())),
  format: "esm",
  target: "es2022",
  platform: "node",
  outDir: "dist",
  clean: true,
  dts: false,
  sourcemap: true,
  // One file per entry: each further file costs a millisecond of every start. What entries share they hold twice, which is no
  // different from two installed copies, and those understand each other.
  splitting: false,
  treeshake: false,
  removeNodeProtocol: false,
  skipNodeModulesBundle: true,
});
