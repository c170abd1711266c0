import type { CallContext } from "./contract.js";
import { asBag, type Bag } from "./wire.js";

/** The members by which a handler tells its client something and waits for no answer: of SDK v2, and of v1. */
const TELLERS = ["notify", "log", "sendNotification"];

/**
 * What the SDK tells a handler about its request, with the signal and the metadata that the pipeline made of it. A handler that
 * goes on though its client has gone does not notice.
 */
export function extraFor({ call, signal, meta }: CallContext, extra: unknown): unknown {
  const { request } = call;
  const given = request.options.signal;
  if (signal === given && meta === request.meta) return extra;
  const bag = asBag(extra);
  const v2 = asBag(bag?.mcpReq);
  const changes = {
    ...(signal !== given && given !== undefined && tellersOf(v2 ?? bag ?? {}, given)),
    // Handlers rely on having one: where they listen to an undefined signal, they throw.
    signal: signal ?? new AbortController().signal,
    ...(meta !== request.meta && { _meta: meta }),
  };
  return v2 === undefined ? { ...bag, ...changes } : { ...bag, mcpReq: { ...v2, ...changes } };
}

/** Once the client has gone nobody hears what it is told, which must not make the handler fail. */
function tellersOf(bag: Bag, gone: AbortSignal): Bag {
  const tellers: Record<string, unknown> = {};
  for (const name of TELLERS) {
    const tell = bag[name];
    if (typeof tell !== "function") continue;
    tellers[name] = async (...params: readonly unknown[]): Promise<unknown> => {
      if (gone.aborted) return undefined;
      try {
        return await Reflect.apply(tell, bag, params);
      } catch (error) {
        if (gone.aborted) return undefined;
        throw error;
      }
    };
  }
  return tellers;
}
