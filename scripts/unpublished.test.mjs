// Which packages are left to publish, asked of a registry of its own on the loopback interface.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { unpublished } from "./unpublished.mjs";

let root = "";
let server;
/** What the registry knows: versions by name; a number is the status it answers with. */
let known;

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), "unpublished-"));
  addPackage("core", { name: "@mcp-tx/core" });
  addPackage("mcp-tx", { name: "mcp-tx" });
  addPackage("integration", { name: "mcp-tx-integration", private: true });
  server = createServer((request, response) => {
    const answer = known[decodeURIComponent(request.url.slice(1))] ?? 404;
    if (typeof answer === "number") response.writeHead(answer).end("{}");
    else response.end(JSON.stringify(packument(answer)));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
});

afterEach(async () => {
  rmSync(root, { recursive: true, force: true });
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

function addPackage(name, manifest) {
  mkdirSync(join(root, "packages", name), { recursive: true });
  writeFileSync(join(root, "packages", name, "package.json"), JSON.stringify({ version: "0.2.0", ...manifest }));
}

function packument(versions) {
  const manifests = versions.map((version) => [version, { name: "x", version, dist: { tarball: "", integrity: "" } }]);
  return { name: "x", "dist-tags": { latest: versions.at(-1) }, versions: Object.fromEntries(manifests) };
}

function left() {
  const flags = ["--registry", `http://127.0.0.1:${server.address().port}/`, "--fetch-retries=0"];
  return unpublished(root, [...flags, "--cache", join(root, "cache")]);
}

test("before the first release, all public packages", async () => {
  known = {};
  expect(await left()).toEqual(["@mcp-tx/core", "mcp-tx"]);
});

test("after a release that broke off, what it did not get to", async () => {
  known = { "@mcp-tx/core": ["0.1.0", "0.2.0"], "mcp-tx": ["0.1.0"] };
  expect(await left()).toEqual(["mcp-tx"]);
});

test("after a release, nothing", async () => {
  known = { "@mcp-tx/core": ["0.2.0"], "mcp-tx": ["0.2.0"] };
  expect(await left()).toEqual([]);
});

test("a registry that fails is not taken for one that knows nothing", async () => {
  known = { "@mcp-tx/core": 500, "mcp-tx": ["0.2.0"] };
  await expect(left()).rejects.toThrow();
});
