import { expect, test } from "vitest";
import { serverIdentity, type Target } from "./server-identity.js";

const command = (name: string, ...args: string[]): Target => ({ command: name, args });
const address = (url: string, headers: Record<string, string> = {}): Target => ({ url: new URL(url), headers });

test("servers that may be different ones never have the same identity", () => {
  const identities = [
    serverIdentity(command("node", "a", "b"), "/p", undefined),
    serverIdentity(command("node", "a b"), "/p", undefined),
    serverIdentity(command("node a", "b"), "/p", undefined),
    serverIdentity(command("node", "a", "b"), "/q", undefined),
    serverIdentity(command("node", "a", "b"), "/p", "work"),
    serverIdentity(address("https://a.example/"), "/p", undefined),
    serverIdentity(address("https://a.example/", { Authorization: "1" }), "/p", undefined),
    serverIdentity(address("https://a.example/", { Authorization: "2" }), "/p", undefined),
    serverIdentity(address("https://a.example/x"), "/p", undefined),
  ];
  expect(new Set(identities.map(({ id }) => id)).size).toBe(identities.length);
});

test("a server keeps its identity, wherever the order of headers and the folder of the proxy do not matter", () => {
  const first = serverIdentity(address("https://a.example/", { A: "1", B: "2" }), "/p", undefined);
  const second = serverIdentity(address("https://a.example/", { B: "2", A: "1" }), "/q", undefined);
  expect(first.id).toBe(second.id);
  expect(first.id).toMatch(/^[0-9a-f]{32}$/);
});

test.each([
  [command("npx", "-y", "@modelcontextprotocol/server-memory"), "@modelcontextprotocol/server-memory"],
  [command("node", "--no-warnings", "/opt/app/server.js", "--key=x"), "server.js"],
  [command("uv", "run", "weather.py"), "weather.py"],
  [command("docker", "run", "mcp/x"), "docker"],
  [command("C:\\bin\\tool.exe"), "tool"],
  [command("node"), "node"],
  [address("https://a.example:8443/mcp?key=secret"), "a.example:8443"],
])("a server without a name is known by what it is: %j", (target, label) => {
  expect(serverIdentity(target, "/p", undefined).label).toBe(label);
});
