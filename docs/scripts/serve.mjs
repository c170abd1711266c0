// A static server on loopback, as plain as the ones that the site is for.
import { createReadStream, existsSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";

/** @type {Readonly<Record<string, string>>} */
const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".css": "text/css",
  ".json": "application/json",
  ".svg": "image/svg+xml",
  ".xml": "application/xml",
  ".md": "text/markdown; charset=utf-8",
  ".txt": "text/plain; charset=utf-8",
};

/** The file for a path, as a static host looks it up. @param {string} folder @param {string} path */
function fileFor(folder, path) {
  const file = join(folder, normalize(path));
  const candidates = path.endsWith("/") ? [join(file, "index.html")] : [file, `${file}.html`];
  return candidates.find((candidate) => existsSync(candidate) && statSync(candidate).isFile());
}

/**
 * Serves a folder below a path; what is missing is a 404 with the folder's own page for that.
 * @param {string} folder
 * @param {string} base begins and ends with a slash
 * @returns {Promise<{ url: string, close: () => Promise<void> }>} `url` includes the base
 */
export async function serve(folder, base) {
  const server = createServer((request, response) => {
    const path = decodeURIComponent(new URL(request.url ?? "/", "http://localhost").pathname);
    const found = path.startsWith(base) ? fileFor(folder, `/${path.slice(base.length)}`) : undefined;
    const file = found ?? fileFor(folder, "/404.html");
    response.writeHead(found === undefined ? 404 : 200, { "content-type": TYPES[extname(file ?? "")] ?? "text/plain" });
    if (file === undefined) response.end("There is no such page.");
    else createReadStream(file).pipe(response);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(undefined)));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the server has no port");
  const close = async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
  return { url: `http://127.0.0.1:${address.port}${base}`, close };
}
