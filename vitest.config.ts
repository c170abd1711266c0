import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";
import { sourceAliases } from "./scripts/package-entries.mjs";

const root = fileURLToPath(new URL(".", import.meta.url));
const reportFile = process.env["MCP_TX_TEST_REPORT"];

export default defineConfig({
  // Tests run on the sources of every package, not on what was last built.
  resolve: { alias: sourceAliases(root) },
  test: {
    reporters: reportFile === undefined ? ["default"] : ["default", ["json", { outputFile: reportFile }]],
    // Much of what is tested waits for processes and databases: also two cores have work for two.
    maxWorkers: Math.max(2, availableParallelism() - 1),
    // Bounds for what hangs, on whatever machine: what is to be fast is measured where that matters.
    testTimeout: 60_000,
    hookTimeout: 120_000,
    expect: { poll: { timeout: 30_000 } },
    projects: [
      {
        extends: true,
        test: { name: "unit", include: ["packages/*/src/**/*.test.ts"], exclude: ["packages/integration/**"] },
      },
      {
        extends: true,
        test: {
          name: "integration",
          include: ["packages/integration/**/*.test.ts"],
          exclude: ["**/node_modules/**"],
        },
      },
      { extends: true, test: { name: "scripts", include: ["scripts/**/*.test.mjs"] } },
    ],
  },
});
