import { expect, test } from "vitest";
import { failuresOf, pageOf, verdictsOn } from "./fixtures/page-tests.js";

test("the tests on the page about testing pass", async () => {
  const page = await pageOf("testing.md");
  const written = [...page.matchAll(/^test\("(.+)", async/gm)].map(([, name]) => name);
  expect(written.length).toBeGreaterThanOrEqual(5);

  const verdicts = await verdictsOn(page);

  expect(failuresOf(verdicts)).toEqual([]);
  expect(verdicts.map(({ name }) => name).sort()).toEqual(written.sort());
});

test("a test on the page that does not hold is reported with its name, and so is a file that cannot be loaded", async () => {
  const page = (await pageOf("testing.md"))
    .replace("attempts: 1, execution", "attempts: 9, execution")
    .replace('import { pipeline, run } from "@mcp-tx/core";', 'import { pipeline } from "./nowhere.js";');
  const failures = failuresOf(await verdictsOn(page));
  expect(failures.map(({ name }) => name).sort()).toEqual([
    expect.stringMatching(/snippet-\d+\.test\.ts$/),
    "a lost answer of a plain server is unclear, and is not sent again",
  ]);
  expect(failures.map(({ problem }) => problem).join()).toMatch(/nowhere\.js/);
});
