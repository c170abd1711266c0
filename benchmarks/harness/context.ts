import { type CallContext, run } from "@mcp-tx/core";

/** The context of a call that a wrapper started: what a middleware gets, ready to be passed on again and again. */
export async function readyContext(): Promise<CallContext> {
  let captured: CallContext | undefined;
  await run(
    async (ctx) => {
      captured = ctx;
      return {};
    },
    { tool: "bench", args: { city: "Kyoto" } },
  );
  if (captured === undefined) throw new Error("the handler was not called");
  return captured;
}
