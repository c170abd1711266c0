import { join } from "node:path";
import { expect, test } from "vitest";
import { hostLocations } from "./host-locations.js";
import { testMachine } from "./machine.fixture.js";
import type { Surroundings } from "./surroundings.js";

const WINDOWS = { home: "C:\\Home\\me", cwd: "D:\\code", env: { APPDATA: "C:\\Home\\me\\AppData\\Roaming" } };
const UNIX = { home: "/h/me", cwd: "/code", env: {} };

async function pathsOf(machine: Pick<Surroundings, "platform" | "home" | "cwd" | "env">): Promise<readonly string[]> {
  const locations = await hostLocations({ stateFolder: "", configFolder: "", ...machine });
  return locations.map(({ title, path }) => `${title}: ${path}`);
}

test("knows the files on macOS", async () => {
  expect(await pathsOf({ platform: "darwin", ...UNIX })).toEqual([
    "Claude Desktop: /h/me/Library/Application Support/Claude/claude_desktop_config.json",
    "Claude Code: /h/me/.claude.json",
    "Claude Code (project): /code/.mcp.json",
    "Cursor: /h/me/.cursor/mcp.json",
    "Cursor (project): /code/.cursor/mcp.json",
    "VS Code: /h/me/Library/Application Support/Code/User/mcp.json",
    "VS Code: /h/me/Library/Application Support/Code - Insiders/User/mcp.json",
    "VS Code (workspace): /code/.vscode/mcp.json",
  ]);
});

test("knows the files on Windows", async () => {
  expect(await pathsOf({ platform: "win32", ...WINDOWS })).toEqual([
    "Claude Desktop: C:\\Home\\me\\AppData\\Roaming\\Claude\\claude_desktop_config.json",
    "Claude Code: C:\\Home\\me\\.claude.json",
    "Claude Code (project): D:\\code\\.mcp.json",
    "Cursor: C:\\Home\\me\\.cursor\\mcp.json",
    "Cursor (project): D:\\code\\.cursor\\mcp.json",
    "VS Code: C:\\Home\\me\\AppData\\Roaming\\Code\\User\\mcp.json",
    "VS Code: C:\\Home\\me\\AppData\\Roaming\\Code - Insiders\\User\\mcp.json",
    "VS Code (workspace): D:\\code\\.vscode\\mcp.json",
  ]);
});

test("knows the files on Windows without APPDATA", async () => {
  const [desktop] = await pathsOf({ platform: "win32", ...WINDOWS, env: {} });
  expect(desktop).toBe("Claude Desktop: C:\\Home\\me\\AppData\\Roaming\\Claude\\claude_desktop_config.json");
});

test("knows the files on Linux, also where folders are configured", async () => {
  expect((await pathsOf({ platform: "linux", ...UNIX }))[0]).toBe(
    "Claude Desktop: /h/me/.config/Claude/claude_desktop_config.json",
  );
  const env = { XDG_CONFIG_HOME: "/cfg", CLAUDE_CONFIG_DIR: "/claude" };
  const paths = await pathsOf({ platform: "linux", ...UNIX, env });
  expect(paths).toContain("Claude Desktop: /cfg/Claude/claude_desktop_config.json");
  expect(paths).toContain("Claude Code: /claude/.claude.json");
  expect(paths).toContain("VS Code: /cfg/Code/User/mcp.json");
});

test("names a file once when the project is the home folder", async () => {
  const paths = await pathsOf({ platform: "linux", ...UNIX, cwd: UNIX.home });
  expect(paths.filter((path) => path.endsWith(".cursor/mcp.json"))).toEqual(["Cursor: /h/me/.cursor/mcp.json"]);
});

test("finds the profiles of VS Code", async () => {
  const { where, write, root } = await testMachine();
  await write("home/.config/Code/User/profiles/abc/mcp.json", "{}");
  const locations = await hostLocations(where, ["vscode"]);
  expect(locations).toContainEqual({
    host: "vscode",
    title: "VS Code (profile)",
    path: join(root, "home/.config/Code/User/profiles/abc/mcp.json"),
    shape: { serversKey: "servers" },
  });
});
