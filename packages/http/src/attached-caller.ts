import type { Caller } from "@mcp-tx/core";
import type { HttpHandler } from "./index.js";

/** Settles as `promise` does, or with the caller's reason as soon as it aborts. */
function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(signal.reason);
    if (signal.aborted) return abort();
    signal.addEventListener("abort", abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
  });
}

/**
 * The caller that adapters attach to requests. It connects on its first call, so that routes that call no tool neither wait for
 * the server nor fail with it.
 */
export function attachedCaller(handler: HttpHandler): Caller {
  return {
    call: async (tool, args, options) => {
      const caller = await unlessAborted(handler.caller(), options?.signal);
      return caller.call(tool, args, options);
    },
    invoke: async (tool, args, options) => {
      const caller = await unlessAborted(handler.caller(), options?.signal);
      return caller.invoke(tool, args, options);
    },
  };
}
