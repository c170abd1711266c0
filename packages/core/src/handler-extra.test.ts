import { expect, test } from "vitest";
import type { Middleware } from "./contract.js";
import { extraFor } from "./handler-extra.js";
import { createEntry } from "./run.js";
import { localTerminal } from "./terminal.js";

const asIs: Middleware = (ctx, next) => next(ctx);
const detach: Middleware = (ctx, next) => next({ ...ctx, signal: undefined });
const label: Middleware = (ctx, next) => next({ ...ctx, meta: { ...ctx.meta, "acme/x": 1 } });

/** What a handler gets in the place of `extra`. */
async function handed(
  middleware: Middleware,
  extra: object,
  signal: AbortSignal,
): Promise<Readonly<Record<string, never>>> {
  const seen: unknown[] = [];
  const terminal = localTerminal(async (ctx) => {
    seen.push(extraFor(ctx, extra));
    return { content: [] };
  });
  const enter = createEntry({ owner: "test", middleware: [middleware], terminal, side: "server" });
  await enter({ tool: "tool", args: {}, meta: {}, options: { signal } });
  // Read by name below.
  return seen[0] as Readonly<Record<string, never>>;
}

const NAMES = [
  { line: "v1", wrap: (members: object) => members, read: (extra: object) => extra, tellers: ["sendNotification"] },
  {
    line: "v2",
    wrap: (members: object) => ({ mcpReq: members }),
    read: (extra: { readonly mcpReq?: object }) => extra.mcpReq,
    tellers: ["notify", "log"],
  },
];

test.each(NAMES)("hands on what the SDK gave where nothing changed, $line", async ({ wrap }) => {
  const { signal } = new AbortController();
  const extra = wrap({ signal, id: 7 });
  expect(await handed(asIs, extra, signal)).toBe(extra);
});

test.each(NAMES)("hands on the metadata of the pipeline, $line", async ({ wrap, read }) => {
  const { signal } = new AbortController();
  expect(read(await handed(label, wrap({ signal, id: 7 }), signal))).toMatchObject({ id: 7, _meta: { "acme/x": 1 } });
});

test.each(NAMES)(
  "gives a handler a signal also when the pipeline took the request's away, $line",
  async ({ wrap, read }) => {
    const controller = new AbortController();
    const { signal } = controller;
    const members = read(await handed(detach, wrap({ signal }), signal)) as { readonly signal: AbortSignal };
    controller.abort();
    expect(members.signal.aborted).toBe(false);
  },
);

test.each(NAMES)(
  "a detached handler tells its client things until that has gone, $line",
  async ({ wrap, read, tellers }) => {
    for (const name of tellers) {
      const controller = new AbortController();
      const { signal } = controller;
      const told: unknown[] = [];
      const tell = async (what: string): Promise<void> => {
        if (what === "late") controller.abort();
        if (what !== "well") throw new Error(what);
        told.push(what);
      };
      const members = read(await handed(detach, wrap({ signal, [name]: tell }), signal));
      const { [name]: handedOn } = members as Readonly<Record<string, typeof tell>>;
      await handedOn?.("well");
      await expect(handedOn?.("refused")).rejects.toThrow("refused");
      await handedOn?.("late");
      await handedOn?.("well");
      expect(told).toEqual(["well"]);
    }
  },
);
