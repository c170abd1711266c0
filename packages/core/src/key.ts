import type { Key } from "./contract.js";

/**
 * Makes a typed key for a call's scratch space. The same name gives the same key, also across two copies of the package.
 *
 * @param name - reverse-DNS or package-prefixed, such as `"acme.tenant"`
 */
export function createKey<T>(name: string): Key<T> {
  if (typeof name !== "string" || name === "") throw new TypeError("createKey: name must be a non-empty string");
  return Symbol.for(`@mcp-tx/key:${name}`) as Key<T>;
}
