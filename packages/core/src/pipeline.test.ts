import fc from "fast-check";
import { expect, test } from "vitest";
import type { CallContext, Handler, Middleware, ToolResult } from "./contract.js";
import { compose, pipeline, when } from "./pipeline.js";
import { run } from "./run.js";
import { context, scriptedTool } from "./testing/index.js";

const result: ToolResult = Object.freeze({ content: [] });

/** Writes when it is entered and left; calls next so many times. */
function tracer(log: string[], name: string, times = 1): Middleware {
  return Object.assign(
    async (ctx: CallContext, next: Handler) => {
      log.push(`>${name}`);
      let last: ToolResult = result;
      for (let index = 0; index < times; index += 1) last = await next(ctx);
      log.push(`<${name}`);
      return last;
    },
    { optionKeys: [name] },
  );
}

async function traceOf(build: (log: string[]) => Middleware | readonly Middleware[]): Promise<readonly string[]> {
  const log: string[] = [];
  const terminal: Handler = async () => {
    log.push("!");
    return result;
  };
  await run(pipeline(build(log), terminal), { tool: "t" });
  return log;
}

/** A tree of groups; a leaf is a middleware that calls next none, one or two times. */
type Tree = number | readonly Tree[];

const { tree } = fc.letrec<{ tree: Tree; leaf: number; group: readonly Tree[] }>((tie) => ({
  tree: fc.oneof({ maxDepth: 4 }, tie("leaf"), tie("group")),
  leaf: fc.integer({ min: 0, max: 2 }),
  group: fc.array(tie("tree"), { maxLength: 3 }),
}));

function leavesOf(node: Tree): readonly number[] {
  return typeof node === "number" ? [node] : node.flatMap(leavesOf);
}

test("enters the first middleware first and leaves it last", async () => {
  expect(await traceOf((log) => [tracer(log, "a"), tracer(log, "b"), tracer(log, "c")])).toEqual([
    ">a",
    ">b",
    ">c",
    "!",
    "<c",
    "<b",
    "<a",
  ]);
});

test("does with groups of groups just what the flat list does", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(tree, { maxLength: 4 }), async (forest) => {
      let nested = 0;
      let flat = 0;
      const build = (log: string[], node: Tree): Middleware => {
        if (typeof node !== "number") return compose(node.map((child) => build(log, child)));
        nested += 1;
        return tracer(log, `${nested}`, node);
      };
      const leaves = forest.flatMap(leavesOf);
      const flatTrace = await traceOf((log) =>
        leaves.map((times) => {
          flat += 1;
          return tracer(log, `${flat}`, times);
        }),
      );
      expect(await traceOf((log) => forest.map((node) => build(log, node)))).toEqual(flatTrace);
    }),
  );
});

test("composes associatively, also where a group is called as a middleware and not taken apart", async () => {
  const opaque =
    (middleware: Middleware): Middleware =>
    (ctx, next) =>
      middleware(ctx, next);
  await fc.assert(
    fc.asyncProperty(fc.tuple(fc.nat(2), fc.nat(2), fc.nat(2)), async ([a, b, c]) => {
      const make = (log: string[]): [Middleware, Middleware, Middleware] => [
        tracer(log, "a", a),
        tracer(log, "b", b),
        tracer(log, "c", c),
      ];
      const left = await traceOf((log) => {
        const [first, second, third] = make(log);
        return opaque(compose([opaque(compose([first, second])), third]));
      });
      const right = await traceOf((log) => {
        const [first, second, third] = make(log);
        return opaque(compose([first, opaque(compose([second, third]))]));
      });
      expect(left).toEqual(right);
      expect(left).toEqual(await traceOf(make));
    }),
  );
});

test("takes the empty group for the identity", async () => {
  const plain = await traceOf((log) => [tracer(log, "a")]);
  expect(await traceOf((log) => [compose([]), tracer(log, "a"), compose([compose([])])])).toEqual(plain);
  const own: ToolResult = { content: [] };
  expect(await run(pipeline([], scriptedTool([{ result: own }])), { tool: "t" })).toBe(own);
});

test("takes one middleware as well as a list", async () => {
  expect(await traceOf((log) => tracer(log, "a"))).toEqual([">a", "!", "<a"]);
});

test("nests: a pipeline is a terminal of another", async () => {
  const log: string[] = [];
  const inner = pipeline([tracer(log, "inner")], async () => {
    log.push("!");
    return result;
  });
  // An option that only the inner one claims: its layers count like the outer ones.
  await run(pipeline([tracer(log, "outer")], inner), { tool: "t", options: { inner: 1 } as object });
  expect(log).toEqual([">outer", ">inner", "!", "<inner", "<outer"]);
});

test("hands a composed group the keys of all its parts", () => {
  expect(compose([tracer([], "a"), compose([tracer([], "b"), tracer([], "a")])]).optionKeys).toEqual(["a", "b"]);
});

test("keeps concurrent calls through one group apart, even with different next", async () => {
  const group = compose([tracer([], "a"), tracer([], "b")]);
  const answer =
    (name: string): Handler =>
    async () => ({ structuredContent: name });
  const ctx = context();
  const results = await Promise.all(["x", "y", "x", "z"].map((name) => group(ctx, answer(name))));
  expect(results.map(({ structuredContent }) => structuredContent)).toEqual(["x", "y", "x", "z"]);
});

const matches = [
  ["a name", "a.read", ["a.read"]],
  ["an array", ["a.read", "b"], ["a.read", "b"]],
  ["an empty array", [], []],
  ["a pattern", /^a\./, ["a.read", "a.write"]],
  ["a global pattern, whose state must not carry over", /a/g, ["a.read", "a.write"]],
  ["a sticky pattern, which then matches anywhere", /write/y, ["a.write"]],
  ["a pattern that ignores case", /^A\.READ$/i, ["a.read"]],
  ["a function", (ctx: CallContext) => ctx.tool.length === 1, ["b"]],
] as const;

test.each(matches)("applies a middleware by %s", async (_name, match, expected) => {
  const seen: string[] = [];
  const record: Middleware = (ctx, next) => {
    seen.push(ctx.tool);
    return next(ctx);
  };
  const handler = pipeline([when(match, record)], async () => ({ content: [] }));
  for (let round = 0; round < 2; round += 1)
    for (const tool of ["a.read", "a.write", "b"]) await run(handler, { tool });
  expect(seen).toEqual([...expected, ...expected]);
});

test("applies a whole group conditionally, and to the other calls not at all", async () => {
  const log: string[] = [];
  const handler = pipeline([when("yes", [tracer(log, "a"), tracer(log, "b")])], async () => ({ content: [] }));
  await run(handler, { tool: "no" });
  expect(log).toEqual([]);
  await run(handler, { tool: "yes" });
  expect(log).toEqual([">a", ">b", "<b", "<a"]);
});

test("takes the seat of the middleware it applies", () => {
  async function seated(ctx: CallContext, next: Handler): Promise<ToolResult> {
    return next(ctx);
  }
  seated.seat = "breaker" as const;
  expect(when("t", seated).seat).toBe("breaker");
  expect(when("t", seated).name).toBe("when(seated)");
});

const badMiddleware: readonly (readonly [string, () => unknown, string])[] = [
  [
    "null",
    () => pipeline(null as never, scriptedTool([{ result }])),
    "pipeline: middleware must be a function or an array of functions, got null",
  ],
  ["an object", () => pipeline({} as never, scriptedTool([{ result }])), "got object"],
  [
    "undefined in a list",
    () => pipeline([tracer([], "a"), undefined as never], scriptedTool([{ result }])),
    "middleware[1] must be a function (ctx, next) => Promise, got undefined",
  ],
  [
    "a promise in a list",
    () => compose([Promise.resolve() as never]),
    "compose: middleware[0] must be a function (ctx, next) => Promise, got object",
  ],
  [
    "a list in a list",
    () => compose([[tracer([], "a")] as never]),
    "compose: middleware[0] must be a function (ctx, next) => Promise, got an array",
  ],
  [
    "a terminal that is none",
    () => pipeline([], {} as never),
    "pipeline: terminal must be a function (ctx) => Promise, got object",
  ],
  ["a match that is none", () => when(5 as never, tracer([], "a")), "when: match must be a tool name"],
  ["a match with a number", () => when(["a", 5] as never, tracer([], "a")), "when: match must be a tool name"],
  ["a conditional nothing", () => when("t", undefined as never), "when: middleware must be a function"],
];

test.each(badMiddleware)("refuses %s when it is built", (_name, build, message) => {
  expect(build).toThrow(TypeError);
  expect(build).toThrow(message);
});

test("says which middleware called next without a context", async () => {
  const forgetful: Middleware = (_ctx, next) => (next as unknown as () => Promise<ToolResult>)();
  const terminal = scriptedTool([{ result }], { repeatLast: true });
  await expect(run(pipeline([forgetful], terminal), { tool: "t" })).rejects.toThrow(
    'middleware "forgetful" called next without a context; write next(ctx)',
  );
  await expect(run(pipeline([forgetful, tracer([], "a")], terminal), { tool: "t" })).rejects.toThrow(
    'middleware "forgetful"',
  );
  expect(terminal.executions).toBe(0);
});

test("says so when next gets something that is no context", async () => {
  const terminal = scriptedTool([{ result }]);
  const wrong: Middleware = (_ctx, next) => next({} as never);
  await expect(run(pipeline([wrong], terminal), { tool: "t" })).rejects.toThrow(
    "something that is no call context; write next(ctx)",
  );
  expect(terminal.executions).toBe(0);
});

test("says so when the pipeline itself is called without a context", async () => {
  const handler = pipeline([tracer([], "a")], scriptedTool([{ result }]));
  await expect((handler as unknown as () => Promise<ToolResult>)()).rejects.toThrow(
    "the pipeline was called without a context",
  );
});

test.each([
  ["a promise", async () => false],
  ["nothing", () => undefined],
])("when() fails the call for a function that gives %s, instead of applying at random", async (_, match) => {
  const conditional = when(match as never, tracer([], "a"));
  const error = await run(
    pipeline([conditional], async () => result),
    { tool: "read" },
  ).catch((thrown: unknown) => thrown);
  expect(String(error)).toContain("when: match must return true or false");
});

test("next(null) is reported like next()", async () => {
  const careless: Middleware = (_ctx, next) => next(null as never);
  const handler = pipeline([careless, tracer([], "a")], async () => result);
  const error = await run(handler, { tool: "read" }).catch((thrown: unknown) => thrown);
  expect(String(error)).toContain('middleware "careless" called next without a context');
});
