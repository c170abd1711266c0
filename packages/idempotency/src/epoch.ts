import { type CallContext, readCallMeta } from "@mcp-tx/core";

/** What fits the columns of every store. Epochs come from strangers, too. */
const MAX_EPOCH = 2_147_483_647;
/** Raising is done one by one: far more than anybody repeats a call on purpose. */
const MAX_RAISES = 1000;

/** How often a call has been repeated on purpose: by its caller, and by whoever called before it over the wire. */
export function epochOf({ meta, call }: CallContext): number {
  const outer = readCallMeta(meta)?.epoch ?? 0;
  return Math.min(outer + call.epoch, MAX_EPOCH);
}

/** The epoch of a repetition on purpose. */
export function epochAfter(epoch: number): number {
  return Math.min(epoch + 1, MAX_EPOCH);
}

/** Lets the call go out with at least this epoch, so that a server further on runs it again as well. */
export function raiseEpochTo(epoch: number, ctx: CallContext): void {
  for (let raises = 0; raises < MAX_RAISES && epochOf(ctx) < epoch; raises += 1) ctx.call.raiseEpoch();
}
