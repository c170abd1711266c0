export { runCli } from "./cli.js";
export { type Proxy, type ProxyEnd, type ProxySpec, startProxy } from "./proxy.js";
export type { Output, Surroundings } from "./surroundings.js";
export type { Endpoint } from "./upstream-http.js";
export type { Command } from "./upstream-stdio.js";
