import type { Caller, CallOptions, Middleware } from "@mcp-tx/core";
import { virtualTime } from "@mcp-tx/core/testing";
import { describe, expect, test } from "vitest";
import { createHttpHandler } from "./create-handler.js";
import { OK, post, read, type SceneOptions, scene } from "./front.fixture.js";
import { prefersEvents } from "./stream.js";

const SEARCH = { tool: "search", arguments: { query: "tides" } };
const EVENTS = { accept: "text/event-stream" };

interface Event {
  readonly event: string;
  // biome-ignore lint/suspicious/noExplicitAny: tests look into data of any shape
  readonly data: any;
}

function eventsIn(text: string): readonly Event[] {
  return text
    .split("\n\n")
    .filter((block) => block.startsWith("event: "))
    .map((block) => {
      const [event = "", data = ""] = block.split("\n");
      return { event: event.slice("event: ".length), data: JSON.parse(data.slice("data: ".length)) };
    });
}

/** Reports progress as an SDK client's caller does. */
function progressing(...steps: readonly unknown[]): Middleware {
  return (ctx, next) => {
    const { onprogress } = ctx.options as { readonly onprogress?: (progress: unknown) => void };
    for (const step of steps) onprogress?.(step);
    return next(ctx);
  };
}

async function streamed(options: SceneOptions, body: unknown = SEARCH) {
  const { handler, tool } = scene(options);
  const response = await handler.fetch(post(body, EVENTS));
  return { status: response.status, headers: response.headers, events: eventsIn(await response.text()), tool };
}

test("progress comes as it is made, and at last the result", async () => {
  const { status, headers, events } = await streamed({
    middleware: [progressing({ progress: 1, total: 3, message: "looking" }, { progress: 2 })],
  });
  expect(status).toBe(200);
  expect(headers.get("content-type")).toBe("text/event-stream; charset=utf-8");
  expect(headers.get("cache-control")).toBe("no-store");
  expect(events.map(({ event }) => event)).toEqual(["progress", "progress", "result"]);
  expect(events[0]?.data).toEqual({ progress: 1, total: 3, message: "looking" });
  expect(events[2]?.data).toMatchObject({ success: true, result: OK, metadata: { attempts: 1 } });
});

test("nothing in progress can forge an event, and what is no progress is left out", async () => {
  const forged = { progress: 1, message: "x\n\nevent: result\ndata: {}\n\n", secret: 1, total: "many" };
  const { events } = await streamed({ middleware: [progressing(forged, null, "text", { progress: {} })] });
  expect(events.map(({ event }) => event)).toEqual(["progress", "progress", "progress", "progress", "result"]);
  expect(events[0]?.data).toEqual({ progress: 1, message: forged.message });
  expect(events[1]?.data).toEqual({});
});

test("a call that fails ends with its problem", async () => {
  const { status, events } = await streamed({ steps: [{ error: new Error("s3cr3t") }] });
  expect(status).toBe(200);
  expect(events).toEqual([{ event: "problem", data: expect.objectContaining({ status: 500, code: "tool_error" }) }]);
  expect(JSON.stringify(events)).not.toContain("s3cr3t");
});

test("a tool's own failure is a result", async () => {
  const { events } = await streamed({ steps: [{ result: { ...OK, isError: true } }] });
  expect(events).toEqual([{ event: "result", data: expect.objectContaining({ success: false, isError: true }) }]);
});

test.each([
  [400, { tool: 5 }],
  [404, { tool: "absent" }],
  [422, { tool: "search" }],
])("what is refused before the call is a problem with its status: %i", async (status, body) => {
  const { handler } = scene();
  const answer = await read(await handler.fetch(post(body, EVENTS)));
  expect(answer.status).toBe(status);
  expect(answer.headers.get("content-type")).toBe("application/problem+json");
});

test("a client that leaves aborts its call, and no timer goes on", async () => {
  const time = virtualTime();
  const { handler, tool } = scene({ steps: [{ hang: true }], runtime: time.runtime });
  const response = await handler.fetch(post(SEARCH, EVENTS));
  await expect.poll(() => tool.executions).toBe(1);
  await response.body?.cancel();
  expect(tool.contexts[0]?.signal?.aborted).toBe(true);
  await handler.close();
  expect(time.timers).toBe(0);
});

test("a request that is aborted aborts its call", async () => {
  const { handler, tool } = scene({ steps: [{ hang: true }] });
  const gone = new AbortController();
  const response = await handler.fetch(post(SEARCH, EVENTS, { signal: gone.signal }));
  await expect.poll(() => tool.executions).toBe(1);
  gone.abort();
  expect(eventsIn(await response.text())).toMatchObject([{ event: "problem", data: { code: "outcome_unknown" } }]);
});

test("a comment keeps a silent stream alive each heartbeatMs", async () => {
  const time = virtualTime();
  const { handler } = scene({
    steps: [{ result: OK, delayMs: 3500 }],
    wrap: { runtime: time.runtime },
    runtime: time.runtime,
    heartbeatMs: 1000,
  });
  const text = await time.run(handler.fetch(post(SEARCH, EVENTS)).then((response) => response.text()));
  expect(text.split("event:")[0]).toBe(":\n\n".repeat(4));
  expect(time.timers).toBe(0);
});

test("a client that reads nothing holds no more than some events, and still gets the end", async () => {
  const flood = Array.from({ length: 10_000 }, (_, progress) => ({ progress }));
  const { events } = await streamed({ middleware: [progressing(...flood)] });
  expect(events.length).toBeLessThan(100);
  expect(events.at(-1)?.event).toBe("result");
});

test("progress after the end is dropped", async () => {
  let late: (progress: unknown) => void = () => undefined;
  const caller: Caller = {
    call: async (_tool, _args, options) => {
      late = (options as CallOptions & { onprogress: (progress: unknown) => void }).onprogress;
      return OK;
    },
    invoke: async () => undefined as never,
  };
  const handler = createHttpHandler(caller, { tools: ["search"] });
  const text = await (await handler.fetch(post(SEARCH, EVENTS))).text();
  expect(() => late({ progress: 1 })).not.toThrow();
  expect(eventsIn(text).map(({ event }) => event)).toEqual(["result"]);
});

describe("which clients get events", () => {
  test.each([
    ["text/event-stream", true],
    ["Text/Event-Stream; charset=utf-8", true],
    ["text/event-stream, application/json;q=0.5", true],
    ["application/json, text/event-stream", false],
    ["application/json", false],
    ["*/*", false],
    ["text/html", false],
    ["", false],
    ["text/event-stream;q=0", false],
    ["text/event-stream;q=x", false],
  ])("%j: %s", (accept, isPreferred) => {
    expect(prefersEvents(new Headers({ accept }))).toBe(isPreferred);
  });
});
