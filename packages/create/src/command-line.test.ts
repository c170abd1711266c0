import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { runCommandLine } from "./command-line.js";

async function ran(...args: readonly string[]): Promise<{ code: number; out: string; err: string }> {
  const texts = { out: "", err: "" };
  const code = await runCommandLine(args, "1.2.3", {
    out: (text) => {
      texts.out += text;
    },
    err: (text) => {
      texts.err += text;
    },
  });
  return { code, ...texts };
}

test("writes the package and says what comes next", async () => {
  const folder = await mkdtemp(join(tmpdir(), "mcp-tx-create-"));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const { code, out, err } = await ran("mcp-audit", "--directory", join(folder, "here"));
  expect({ code, err }).toEqual({ code: 0, err: "" });
  expect(out).toContain("Wrote 8 files for mcp-audit:");
  expect(out).toMatch(/cd .*here\n {2}npm install\n {2}npm test\n$/);
});

test("names what is wrong, and exits with 1", async () => {
  expect(await ran("Retry")).toMatchObject({ code: 1, out: "", err: expect.stringMatching(/^error: name "Retry": /) });
  expect(await ran()).toMatchObject({ code: 1, err: expect.stringContaining("missing required argument 'name'") });
  expect(await ran("a", "b")).toMatchObject({ code: 1, err: expect.stringContaining("too many arguments") });
  expect(await ran("a", "--force")).toMatchObject({ code: 1, err: expect.stringContaining("--force") });
});

test("tells its version and its usage", async () => {
  expect(await ran("--version")).toEqual({ code: 0, out: "1.2.3\n", err: "" });
  expect(await ran("--help")).toMatchObject({
    code: 0,
    out: expect.stringContaining("create-mcp-tx [options] <name>"),
  });
});
