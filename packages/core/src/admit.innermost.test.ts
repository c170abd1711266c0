import { expect, test } from "vitest";
import { withGate, withInnermost } from "./admit.js";
import type { Handler, Middleware, ToolResult } from "./contract.js";
import { compose, pipeline } from "./pipeline.js";
import { run } from "./run.js";
import { context } from "./testing/index.js";

const OK: ToolResult = { content: [] };

function named(name: string, log: string[]): Middleware {
  return (ctx, next) => {
    log.push(name);
    return next(ctx);
  };
}

/** Carries a middleware to the innermost place. */
function carrying(middleware: Middleware): Middleware {
  return (ctx, next) => next(withInnermost(ctx, middleware));
}

test("runs inside all other middleware, right before the terminal", async () => {
  const log: string[] = [];
  const handler = pipeline([carrying(named("innermost", log)), named("outer", log), named("inner", log)], async () => {
    log.push("terminal");
    return OK;
  });
  await run(handler, { tool: "t" });
  expect(log).toEqual(["outer", "inner", "innermost", "terminal"]);
});

test("runs round every dispatch of a repeated call", async () => {
  const log: string[] = [];
  const twice: Middleware = async (ctx, next) => {
    await next(ctx);
    return next({ ...ctx, attempt: 2 });
  };
  await run(
    pipeline([carrying(named("innermost", log)), twice], async () => OK),
    { tool: "t" },
  );
  expect(log).toEqual(["innermost", "innermost"]);
});

test("keeps the ones that are there already, outside", async () => {
  const log: string[] = [];
  const handler = pipeline([carrying(named("first", log)), carrying(named("second", log))], async () => OK);
  await run(handler, { tool: "t" });
  expect(log).toEqual(["first", "second"]);
});

test("gives the terminal a context without it, so that a pipeline further in does not run it again", async () => {
  let seen: unknown = "nothing";
  const log: string[] = [];
  const terminal: Handler = async (ctx) => {
    seen = ctx.innermost;
    return OK;
  };
  await run(pipeline([carrying(named("innermost", log))], pipeline([named("nested", log)], terminal)), { tool: "t" });
  expect(seen).toBeUndefined();
  expect(log).toEqual(["nested", "innermost"]);
});

test("is not run by a composed group, only at the end of the pipeline", async () => {
  const log: string[] = [];
  const conditional: Middleware = (ctx, next) => compose([named("grouped", log)])(ctx, next);
  const handler = pipeline([carrying(named("innermost", log)), conditional, named("after", log)], async () => OK);
  await run(handler, { tool: "t" });
  expect(log).toEqual(["grouped", "after", "innermost"]);
});

test("has the gates asked again after it", async () => {
  let isShut = false;
  const gated: Middleware = (ctx, next) =>
    next(
      withGate(ctx, () => {
        if (isShut) throw new Error("shut meanwhile");
      }),
    );
  const slow: Middleware = async (ctx, next) => {
    isShut = true;
    return next(ctx);
  };
  let ran = false;
  const handler = pipeline([gated, carrying(slow)], async () => {
    ran = true;
    return OK;
  });
  await expect(run(handler, { tool: "t" })).rejects.toThrow("shut meanwhile");
  expect(ran).toBe(false);
});

test("may answer instead of the terminal", async () => {
  const answer: ToolResult = { content: [{ type: "text", text: "known" }] };
  const handler = pipeline([carrying(async () => answer)], async () => OK);
  expect(await run(handler, { tool: "t" })).toBe(answer);
});

test("survives a gate that is added later", () => {
  const middleware: Middleware = (ctx, next) => next(ctx);
  const ctx = withGate(withInnermost(context(), middleware), () => undefined);
  expect(ctx.innermost).toBe(middleware);
});
