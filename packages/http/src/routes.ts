import type { HttpMethod, HttpRoute, Route } from "./types.js";

const PATHS: Readonly<Record<Route, string>> = {
  "execute-tool": "/execute-tool",
  tools: "/tools",
  health: "/health",
  livez: "/livez",
  readyz: "/readyz",
  openapi: "/openapi.json",
};
const ROUTES = Object.entries(PATHS) as readonly (readonly [Route, string])[];

const METHODS: readonly HttpMethod[] = ["HEAD", "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/** Methods of a route, as the header `Allow` has them. */
export function allowOf(route: Route): string {
  return route === "execute-tool" ? "POST, OPTIONS" : "GET, HEAD, OPTIONS";
}

/** Which route a path is; `undefined` for none. A slash at the end makes another path. */
export function routeAt(path: string, basePath: string): Route | undefined {
  if (!path.startsWith(`${basePath}/`)) return undefined;
  const rest = path.slice(basePath.length);
  return ROUTES.find(([, known]) => known === rest)?.[0];
}

/** The path of a request, a URL, or a path with or without a query. */
export function pathOf(target: Request | URL | string): string {
  if (target instanceof URL) return target.pathname;
  if (typeof target !== "string") return new URL(target.url).pathname;
  if (!target.startsWith("/")) return URL.canParse(target) ? new URL(target).pathname : target;
  return target.split(/[?#]/, 1)[0] ?? target;
}

/** Every path with every method: a wrong method is answered as well. */
export function routesAt(basePath: string): readonly HttpRoute[] {
  return ROUTES.flatMap(([, path]) => METHODS.map((method) => ({ method, path: basePath + path })));
}

/** Whether a method is routed. */
export function isRouted(method: string): boolean {
  return (METHODS as readonly string[]).includes(method);
}
