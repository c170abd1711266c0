import type { RecordKeeper } from "@mcp-tx/core";
import type { Settings } from "./options.js";
import { retentionMs } from "./retention.js";

/** What a middleware with these settings tells callers that pin their records. */
export function recordKeeper({ store, storeErrors, ttlMs }: Settings): RecordKeeper {
  return {
    // The store that is made when there is none goes with the process.
    durable: store?.durable === true,
    bypasses: storeErrors === "bypass",
    async letGo({ storeId, key, token }) {
      if (store === undefined || store.storeId !== storeId) return false;
      // Nobody pins from the far side of a wire, so that none of these is on a server.
      return (await store.expire(key, token, retentionMs("client", ttlMs))) === true;
    },
  };
}
