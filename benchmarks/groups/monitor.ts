import { type CallContext, type Handler, type Middleware, pipeline, type ToolResult, wrapTool } from "@mcp-tx/core";
import { monitor } from "@mcp-tx/monitor";
import { readyContext } from "../harness/context.js";
import type { Group, Task } from "../harness/group.js";

const RESULT: ToolResult = Object.freeze({ content: [] });
const TOOLS = 1000;

const CONTEXT: CallContext = await readyContext();

/** What wrapping a call costs at least. */
function wrapped(): Task {
  const next: Handler = async () => RESULT;
  const wrapper: Handler = async (ctx) => await next(ctx);
  return () => wrapper(CONTEXT);
}

function ours(contexts: readonly CallContext[]): Task {
  const handler = pipeline(monitor(), async () => RESULT);
  let index = 0;
  return () => {
    index = index + 1 === contexts.length ? 0 : index + 1;
    return handler(contexts[index] ?? CONTEXT);
  };
}

/** A whole call through a wrapper: only here does an attempt tell its listeners, and is a listener one of many costs. */
function call(middleware: Middleware): Task {
  const tool = wrapTool("weather", async (_place: { readonly city: string }) => ({ degrees: 21 }), middleware);
  const place = { city: "Kyoto" };
  return () => tool(place);
}

const plain: Middleware = async (ctx, next) => await next(ctx);

const contenders = (): Readonly<Record<string, Task>> => ({
  "async wrapper": wrapped(),
  "monitor(), one tool": ours([CONTEXT]),
  "monitor(), 1000 tools": ours(Array.from({ length: TOOLS }, (_, index) => ({ ...CONTEXT, tool: `tool-${index}` }))),
});

const calls = (): Readonly<Record<string, Task>> => ({
  "wrapTool, async middleware": call(plain),
  "wrapTool, monitor()": call(monitor()),
});

function reportTask(): Task {
  const watched = monitor();
  const handler = pipeline(watched, async () => RESULT);
  for (let index = 0; index < 100; index += 1) void handler({ ...CONTEXT, tool: `tool-${index}` });
  return () => watched.report();
}

export default (): readonly Group[] => [
  {
    title: "monitor: the middleware alone",
    measure: "time",
    contenders: contenders(),
    reference: "async wrapper",
    targets: [
      { ours: "monitor(), one tool", peer: "async wrapper" },
      { ours: "monitor(), 1000 tools", peer: "async wrapper" },
    ],
  },
  {
    title: "monitor: a whole call",
    measure: "time",
    contenders: calls(),
    reference: "wrapTool, async middleware",
    // A third of what it adds is two looks at the clock.
    targets: [{ ours: "wrapTool, monitor()", peer: "wrapTool, async middleware", atMost: 2.5 }],
  },
  {
    title: "monitor: bytes of a whole call",
    measure: "bytes",
    contenders: calls(),
    reference: "wrapTool, async middleware",
    targets: [{ ours: "wrapTool, monitor()", peer: "wrapTool, async middleware", kind: "difference" }],
  },
  {
    title: "monitor: report() of 100 tools",
    measure: "time",
    contenders: { "report()": reportTask() },
    reference: "report()",
    targets: [{ ours: "report()", kind: "absolute" }],
  },
];
