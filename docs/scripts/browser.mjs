// The browser of this machine: none is downloaded.
import { execFileSync } from "node:child_process";
import { chromium } from "playwright-core";

/** @returns {string | undefined} */
function browserPath() {
  const given = process.env["CHROMIUM_PATH"];
  if (given !== undefined && given !== "") return given;
  for (const name of ["chromium", "chromium-browser", "google-chrome"]) {
    try {
      return execFileSync("which", [name], { encoding: "utf8" }).trim();
    } catch {
      // The next name.
    }
  }
  return undefined;
}

/** Opens it. Where there is none this says so, loudly; with MCP_TX_REQUIRE_SERVICES=1 it is an error. */
export async function openBrowser() {
  const executablePath = browserPath();
  if (executablePath !== undefined) return chromium.launch({ executablePath, args: ["--no-sandbox"] });
  const line = "NO BROWSER: pages, their links and the search are NOT checked. Install Chromium, or set CHROMIUM_PATH.";
  if (process.env["MCP_TX_REQUIRE_SERVICES"] === "1") throw new Error(line);
  process.stderr.write(`${line}\n`);
  return undefined;
}
