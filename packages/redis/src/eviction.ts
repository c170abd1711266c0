import type { Connection } from "./connection.js";

function field(memory: string, name: string): string | undefined {
  return new RegExp(`^${name}:(.*?)\\r?$`, "m").exec(memory)?.[1];
}

function complain(found: string): never {
  throw new Error(
    `redisStore: ${found}. A server that removes records under memory pressure lets calls run twice. Set maxmemory-policy to ` +
      "noeviction, keep the store on a server of its own, or accept it knowingly with redisStore({ allowEviction: true })",
  );
}

/** @throws Error when `memory`, the section of INFO, does not say that the server never removes what has not expired */
export function checkEviction(memory: string): void {
  const policy = field(memory, "maxmemory_policy");
  if (policy === undefined) complain("INFO memory does not say what the server does when its memory is full");
  if (policy === "noeviction" || field(memory, "maxmemory") === "0") return;
  complain(`the server has a maxmemory and the maxmemory-policy ${policy}`);
}

/**
 * By INFO, because managed services block CONFIG.
 *
 * @throws Error when a server may remove records that have not expired, or does not say
 */
export async function refuseEviction(connection: Connection): Promise<void> {
  const nodes = await connection.nodes();
  if (nodes.length === 0) complain("the client knows no master to ask what it does when its memory is full");
  for (const memory of await Promise.all(nodes.map((node) => node.memory()))) checkEviction(memory);
}
