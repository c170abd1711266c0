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
          testTimeout: 30_000,
          hookTimeout: 60_000,
        },
      },
      { extends: true, test: { name: "scripts", include: ["scripts/**/*.test.mjs"] } },
    ],
  },
});
