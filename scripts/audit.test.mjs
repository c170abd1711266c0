// The audit against a registry of its own, on the loopback interface.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { audit } from "./audit.mjs";

const ADVISORY = {
  id: 1,
  url: "https://example.com/advisory/1",
  title: "Lets anybody in",
  severity: "high",
  vulnerable_versions: "<2.0.0",
  cwe: [],
  cvss: { score: 8, vectorString: null },
};
const LOCKFILE = `lockfileVersion: '9.0'

settings:
  autoInstallPeers: true
  excludeLinksFromLockfile: false

importers:

  .:
    dependencies:
      left:
        specifier: 1.0.0
        version: 1.0.0

packages:

  left@1.0.0:
    resolution: {integrity: sha512-XI5MPzVNApjAyhQzphX8BkmKsKUxD4LdyK24iZeQGinBN9yTQT3bFlCBy/aVx2HrNcqQGsdot8ghrjyrvMCoEA==}

snapshots:

  left@1.0.0: {}
`;

let folder = "";
let server;
let answer;
let asked;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "audit-"));
  writeFileSync(join(folder, "package.json"), JSON.stringify({ name: "app", dependencies: { left: "1.0.0" } }));
  writeFileSync(join(folder, "pnpm-lock.yaml"), LOCKFILE);
  asked = [];
  server = createServer((request, response) => {
    asked.push(request.url);
    request.resume().on("end", () => response.writeHead(answer.status).end(JSON.stringify(answer.body)));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
});

afterEach(async () => {
  rmSync(folder, { recursive: true, force: true });
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
});

function auditWith(status, body) {
  answer = { status, body };
  return audit(folder, ["--registry", `http://127.0.0.1:${server.address().port}/`, "--config.fetch-retries=0"]);
}

test("finds a vulnerable dependency", async () => {
  const { status, output } = await auditWith(200, { left: [ADVISORY] });
  expect(status).toBe("vulnerable");
  expect(output).toContain("Lets anybody in");
});

test("lets one pass that is less than high", async () => {
  expect((await auditWith(200, { left: [{ ...ADVISORY, severity: "low" }] })).status).toBe("clean");
});

test("finds nothing where the registry knows nothing", async () => {
  expect((await auditWith(200, {})).status).toBe("clean");
  expect(asked).not.toEqual([]);
});

test.each([404, 405, 410, 501])("takes %i for a registry without the endpoint", async (status) => {
  expect((await auditWith(status, {})).status).toBe("no-endpoint");
});

test.each([401, 500, 503])("takes %i for a failure, whatever the body says", async (status) => {
  expect((await auditWith(status, { error: "404 or 405" })).status).toBe("failed");
});

test("takes a registry that is not there for a failure", async () => {
  expect((await audit(folder, ["--registry", "http://127.0.0.1:1/", "--config.fetch-retries=0"])).status).toBe(
    "failed",
  );
});
