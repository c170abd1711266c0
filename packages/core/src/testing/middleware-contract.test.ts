import { expect, test } from "vitest";
import type { CallContext, Handler, Middleware, ToolResult } from "../contract.js";
import { compose, when } from "../pipeline.js";
import { context } from "./context.js";
import { keyClaiming } from "./key-claiming.js";
import { type MiddlewareContractOptions, middlewareContract } from "./middleware-contract.js";

type Body = (ctx: CallContext, next: Handler) => Promise<ToolResult>;

function named(body: Body): Middleware {
  function broken(ctx: CallContext, next: Handler): Promise<ToolResult> {
    return body(ctx, next);
  }
  return broken;
}

async function failureOf(
  name: string,
  factory: () => Middleware,
  options?: MiddlewareContractOptions,
): Promise<string> {
  const found = middlewareContract(factory, options).find((candidate) => candidate.name === name);
  if (found === undefined) throw new Error(`no case "${name}"`);
  return found.run().then(
    () => "passed",
    (error: Error) => error.message,
  );
}

/** Waits for a slot first, listens to the signal, and cleans up. */
function careful(): Middleware {
  let running = 0;
  async function careful(ctx: CallContext, next: Handler): Promise<ToolResult> {
    while (running >= 7) await ctx.call.runtime.sleep(3, ctx.signal);
    running += 1;
    const controller = new AbortController();
    const forward = (): void => controller.abort(ctx.signal?.reason);
    ctx.signal?.addEventListener("abort", forward, { once: true });
    if (ctx.signal?.aborted === true) forward();
    try {
      return await next({ ...ctx, signal: controller.signal });
    } finally {
      running -= 1;
      ctx.signal?.removeEventListener("abort", forward);
    }
  }
  return careful;
}

const sound: Readonly<Record<string, () => Middleware>> = {
  "a pass-through": () => named((ctx, next) => next(ctx)),
  "one that waits and derives a signal": careful,
  "a composed group": () => compose([careful(), keyClaiming()]),
  "a conditional one": () => when("contract", careful()),
  "one that claims the key": keyClaiming,
};

for (const [name, factory] of Object.entries(sound)) {
  for (const contractCase of middlewareContract(factory)) {
    test(`finds nothing wrong with ${name}: ${contractCase.name}`, () => contractCase.run());
  }
}

test("gives each call the options it asks for", async () => {
  const keys: (string | undefined)[] = [];
  const factory = (): Middleware =>
    Object.assign(
      named((ctx, next) => {
        keys.push(ctx.options.idempotencyKey);
        return next(ctx);
      }),
      { optionKeys: ["idempotencyKey"] },
    );
  const options = (index: number): { readonly idempotencyKey: string } => ({ idempotencyKey: `key-${index}` });
  expect(await failureOf("gives each of 100 concurrent calls its own result", factory, { options })).toBe("passed");
  expect(new Set(keys).size).toBe(100);
});

let shared: { failures: number } = { failures: 0 };
const onlyOne: Middleware = named((ctx, next) => next(ctx));

/** One broken middleware for each way to break a rule, and what the suite must say of it. */
const broken: readonly (readonly [rule: string, flaw: string, factory: () => Middleware, message: RegExp])[] = [
  [
    "passes a result through as it is",
    "copies the result",
    () => named(async (ctx, next) => ({ ...(await next(ctx)) })),
    /very object/,
  ],
  [
    "passes a result through as it is",
    "runs the tool twice",
    () => named((ctx, next) => next(ctx).then(() => next(ctx))),
    /ran 2 times/,
  ],
  [
    "passes a result through as it is",
    "returns nothing",
    () => named((ctx, next) => next(ctx).then(() => undefined as never)),
    /must not throw.*no result/,
  ],
  [
    "passes a result with isError through as it is",
    "throws on isError",
    () =>
      named(async (ctx, next) => {
        const result = await next(ctx);
        if (result.isError === true) throw new Error("tool error");
        return result;
      }),
    /must not throw, got Error: tool error/,
  ],
  [
    "passes an error through as it is",
    "wraps the error",
    () => named((ctx, next) => next(ctx).catch((cause) => Promise.reject(new Error("wrapped", { cause })))),
    /thrown on as it is, got Error: wrapped/,
  ],
  [
    "passes an error through as it is",
    "swallows the error",
    () => named((ctx, next) => next(ctx).catch(() => ({ content: [] }))),
    /not turned into a result/,
  ],
  [
    "runs next with a context of the same call",
    "starts a call of its own",
    () => named((ctx, next) => next({ ...ctx, call: context().call })),
    /must carry the call it came with/,
  ],
  [
    "settles a call at its deadline while the tool runs",
    "drops the deadline",
    () => named((ctx, next) => next({ ...ctx, deadline: Infinity })),
    /deadline in 500 ms/,
  ],
  [
    "runs next with a context of the same call",
    "drops the signal",
    () => named((ctx, next) => next({ ...ctx, signal: undefined })),
    /must carry a signal/,
  ],
  [
    "passes next exactly a context",
    "calls next without a context",
    () => named((_ctx, next) => (next as unknown as () => Promise<ToolResult>)()),
    /got undefined; write next\(ctx\)/,
  ],
  [
    "passes next exactly a context",
    "hands on an extra argument",
    () => named((ctx, next) => (next as (ctx: CallContext, more: number) => Promise<ToolResult>)(ctx, 1)),
    /nothing else/,
  ],
  [
    "passes next exactly a context",
    "adds a member of its own",
    () => named((ctx, next) => next({ ...ctx, tenant: "acme" } as CallContext)),
    /member "tenant" of its own/,
  ],
  [
    "passes next exactly a context",
    "builds the context anew and forgets something",
    () => named(({ tool, args, call }, next) => next({ tool, args, call } as unknown as CallContext)),
    /lacks "meta"/,
  ],
  [
    "passes next exactly a context",
    "never calls next",
    () => named(async () => ({ content: [] })),
    /next must be called/,
  ],
  [
    "gives each of 100 concurrent calls its own result",
    "keeps the result in the middleware instead of the call",
    () => {
      let last: ToolResult = {};
      return named(async (ctx, next) => {
        last = await next(ctx);
        await ctx.call.runtime.sleep(5);
        return last;
      });
    },
    /of 100 calls at once, call \d+ got the result of call \d+/,
  ],
  ...(["args", "meta", "options"] as const).map(
    (member) =>
      [
        "changes nothing of context, arguments, metadata and options",
        `writes to ctx.${member}`,
        () => named((ctx, next) => next(Object.assign(ctx[member], { traced: true }) && ctx)),
        /frozen.*TypeError/,
      ] as const,
  ),
  [
    "changes nothing of context, arguments, metadata and options",
    "writes to nested arguments",
    () =>
      named((ctx, next) => {
        (ctx.args.nested as { list: number[] }).list.push(4);
        return next(ctx);
      }),
    /frozen.*TypeError/,
  ],
  [
    "changes nothing of context, arguments, metadata and options",
    "counts the attempt in place",
    () => named((ctx, next) => next(Object.assign(ctx, { attempt: 2 }))),
    /frozen.*TypeError/,
  ],
  [
    "does not run a call that is aborted already",
    "drops the signal",
    () => named((ctx, next) => next({ ...ctx, signal: undefined })),
    /must not run the tool/,
  ],
  [
    "does not run a call that is aborted already",
    "answers aborted calls",
    () => named((ctx, next) => (ctx.signal?.aborted === true ? Promise.resolve({ content: [] }) : next(ctx))),
    /must reject/,
  ],
  [
    "settles a call that is aborted while the tool runs",
    "drops the signal",
    () => named((ctx, next) => next({ ...ctx, signal: undefined })),
    /must settle/,
  ],
  [
    "settles a call that is aborted while the tool runs",
    "tries again behind the caller's back",
    () =>
      named((ctx, next) =>
        next(ctx).catch(() => Promise.race([next({ ...ctx, signal: undefined }), Promise.resolve({})])),
      ),
    /ran 2 times/,
  ],
  [
    "leaves no abort listener behind",
    "never removes its listener",
    () =>
      named((ctx, next) => {
        ctx.signal?.addEventListener("abort", () => undefined);
        return next(ctx);
      }),
    /1000 abort listeners/,
  ],
  [
    "leaves no abort listener behind",
    "removes its listener on success only",
    () =>
      named(async (ctx, next) => {
        const listener = (): void => undefined;
        ctx.signal?.addEventListener("abort", listener, { once: true });
        const result = await next(ctx);
        if (result.isError !== true) ctx.signal?.removeEventListener("abort", listener);
        return result;
      }),
    /500 abort listeners/,
  ],
  [
    "is a named function",
    "is an anonymous arrow",
    () => Object.assign((ctx: CallContext, next: Handler) => next(ctx), {}),
    /named/,
  ],
  [
    "shares no state with another of the same factory",
    "trips a breaker that all share",
    () =>
      named(async (ctx, next) => {
        if (shared.failures > 5) throw new Error("open");
        try {
          return await next(ctx);
        } catch (error) {
          shared.failures += 1;
          throw error;
        }
      }),
    /must not show in another.*Error: open/,
  ],
  ["shares no state with another of the same factory", "hands out one function", () => onlyOne, /function of its own/],
  [
    "claims no option but its own",
    "claims whatever it is asked for",
    () =>
      Object.assign(
        named((ctx, next) => next(ctx)),
        { optionKeys: { includes: () => true } as never },
      ),
    /must be an array/,
  ],
  [
    "claims no option but its own",
    "claims by a word that holds the name",
    () =>
      Object.assign(
        named((ctx, next) => next(ctx)),
        { optionKeys: "dev.mcp-tx/unclaimed" as never },
      ),
    /must be an array/,
  ],
  [
    "claims no option but its own",
    "claims what is the core's",
    () =>
      Object.assign(
        named((ctx, next) => next(ctx)),
        { optionKeys: ["signal"] },
      ),
    /must not hold "signal"/,
  ],
  [
    "claims no option but its own",
    "claims a stray option by a list that lies",
    () => {
      class Eager extends Array<string> {
        override includes(): boolean {
          return true;
        }
      }
      return Object.assign(
        named((ctx, next) => next(ctx)),
        { optionKeys: new Eager() },
      );
    },
    /must be refused with a TypeError/,
  ],
];

test.each(broken)("%s: catches one that %s", async (rule, _flaw, factory, message) => {
  shared = { failures: 0 };
  expect(await failureOf(rule, factory)).toMatch(message);
});

test("has a broken middleware for every rule", () => {
  const rules = middlewareContract(keyClaiming).map(({ name }) => name);
  expect(new Set(broken.map(([rule]) => rule))).toEqual(new Set(rules));
});

test("refuses a factory that makes no middleware", async () => {
  expect(() => middlewareContract({} as never)).toThrow("factory must be a function");
  expect(await failureOf("is a named function", () => ({}) as never)).toMatch(
    /factory must return a function.*got an object/,
  );
});
