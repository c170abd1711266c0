import { type CallReport, RateLimitError, withInnermost, wrapClient } from "@mcp-tx/core";
import { type AnnouncingServer, announcingServer, type ServedTool, virtualTime } from "@mcp-tx/core/testing";
import { retry } from "@mcp-tx/retry";
import { Client } from "@modelcontextprotocol/client";
import { describe, expect, test } from "vitest";
import { createReplicas } from "./replicas.js";

const text = (value: string) => ({ content: [{ type: "text", text: value }] });

interface Place {
  readonly server: AnnouncingServer;
  isDown: boolean;
  connects: number;
  cut(): void;
}

interface PlaceSpec {
  readonly tools: Readonly<Record<string, ServedTool>>;
  readonly storeId?: string;
  readonly isDown?: boolean;
}

/** Some servers, and a wrapped set of replicas before them. */
function replicas(specs: readonly PlaceSpec[], options: object = {}, trustAnnotations = false) {
  const time = virtualTime();
  const places = specs.map(({ tools, storeId, isDown = false }): Place & { connection?: { close(): unknown } } => ({
    server: announcingServer({ tools, announce: storeId !== undefined, ...(storeId !== undefined && { storeId }) }),
    isDown,
    connects: 0,
    cut() {
      this.connection?.close();
    },
  }));
  const set = createReplicas({
    runtime: time.runtime,
    reconnect: { jitter: "none" },
    name: "search",
    ...options,
    replicas: places.map((place) => ({
      connect: async () => {
        place.connects += 1;
        if (place.isDown) throw new Error("down");
        const transport = place.server.connect();
        place.connection = transport;
        const client = new Client({ name: "test", version: "1.0.0" });
        await client.connect(transport as never);
        return client;
      },
    })),
  });
  const reports: CallReport[] = [];
  const wrapped = wrapClient(set.client, [retry({ baseDelayMs: 1 }), set.middleware], {
    runtime: time.runtime,
    trustAnnotations,
    onReport: (report) => reports.push(report),
  });
  return { time, places, set, reports, call: wrapped.call };
}

const named = (name: string): ServedTool => ({ run: () => text(name) });

describe("a call", () => {
  test("goes to the replicas in turn", async () => {
    const { time, call, set } = replicas(["a", "b"].map((name) => ({ tools: { ask: named(name) } })));
    const answers = [];
    for (let round = 0; round < 4; round += 1) answers.push(await time.run(call("ask")));
    expect(answers).toEqual(["a", "b", "a", "b"].map(text));
    await set.close();
  });

  test("goes on to the next replica when the first cannot be reached, in one report", async () => {
    const { time, call, places, reports, set } = replicas([
      { tools: { ask: named("a") }, isDown: true },
      { tools: { ask: named("b") } },
    ]);
    expect(await time.run(call("ask"))).toEqual(text("b"));
    expect(await time.run(call("ask"))).toEqual(text("b"));
    expect(time.now()).toBe(0);
    expect(places.map(({ connects }) => connects)).toEqual([1, 1]);
    expect(reports).toHaveLength(2);
    expect(reports[0]).toMatchObject({ status: "completed", attempts: 1 });
    expect(set.state).toBe("connected");
    await set.close();
  });

  test("of an unknown outcome goes nowhere else", async () => {
    const stuck: ServedTool = { run: () => new Promise(() => undefined) };
    const { time, call, places, reports, set } = replicas([{ tools: { pay: stuck } }, { tools: { pay: named("b") } }]);
    const calling = call("pay");
    await time.advance(0);
    places[0]?.cut();
    await expect(time.run(calling)).rejects.toMatchObject({ code: "outcome_unknown" });
    expect(reports[0]).toMatchObject({ execution: "unknown", attempts: 1 });
    expect(places[1]?.server.executions("pay")).toBe(0);
    await set.close();
  });

  test("that only reads, at a trusted server, is read at another replica", async () => {
    const annotations = { readOnlyHint: true };
    const stuck: ServedTool = { annotations, run: () => new Promise(() => undefined) };
    const other: ServedTool = { annotations, run: () => text("b") };
    const { time, call, places, reports, set } = replicas(
      [{ tools: { read: stuck } }, { tools: { read: other } }],
      {},
      true,
    );
    const calling = call("read");
    await time.advance(0);
    places[0]?.cut();
    expect(await time.run(calling)).toEqual(text("b"));
    expect(reports[0]).toMatchObject({ status: "completed", attempts: 2 });
    await set.close();
  });

  test.each([
    ["the same store", "shared", 1, "completed"],
    ["another store", "other", 0, "unknown"],
  ] as const)("of an unknown outcome, to %s, ends %#", async (_, storeId, executions, status) => {
    const stuck: ServedTool = { run: () => new Promise(() => undefined) };
    const { time, call, places, reports, set } = replicas([
      { tools: { pay: stuck, warm: named("a") }, storeId: "shared" },
      { tools: { pay: named("b"), warm: named("b") }, storeId },
    ]);
    // Both have announced themselves.
    await time.run(call("warm"));
    await time.run(call("warm"));
    const calling = call("pay").catch(() => undefined);
    await time.advance(0);
    // It cannot come back: a resend has only the other one to go to.
    Object.assign(places[0] ?? {}, { isDown: true });
    places[0]?.cut();
    await time.run(calling);
    expect(places[1]?.server.executions("pay")).toBe(executions);
    expect(reports.at(-1)).toMatchObject({ status });
    await set.close();
  });

  test("that ran goes nowhere else, whatever a middleware says of it afterwards", async () => {
    const { time, places, set } = replicas([{ tools: { pay: named("a") } }, { tools: { pay: named("b") } }]);
    const wrapped = wrapClient(
      set.client,
      [
        (ctx, next) =>
          next(
            withInnermost(ctx, async (inner, dispatch) => {
              await dispatch(inner);
              throw new RateLimitError(ctx.tool);
            }),
          ),
        set.middleware,
      ],
      { runtime: time.runtime },
    );
    await expect(time.run(wrapped.call("pay"))).rejects.toMatchObject({ code: "rate_limited" });
    expect(places.map(({ server }) => server.executions("pay"))).toEqual([1, 0]);
    await set.close();
  });

  test("ends with the last failure when no replica can be reached", async () => {
    const { time, call, reports } = replicas([
      { tools: {}, isDown: true },
      { tools: {}, isDown: true },
    ]);
    await expect(time.run(call("ask"))).rejects.toMatchObject({ code: "transport_error" });
    expect(reports[0]).toMatchObject({ execution: "not-executed", attempts: 0 });
  });

  test("has one deadline over all replicas", async () => {
    const time = virtualTime();
    const connect = (): Promise<never> => new Promise(() => undefined);
    const set = createReplicas({ runtime: time.runtime, replicas: [{ connect }, { connect }] });
    const wrapped = wrapClient(set.client, [set.middleware], { runtime: time.runtime, timeoutMs: 100 });
    await expect(time.run(wrapped.call("ask"))).rejects.toMatchObject({ code: "deadline" });
    expect(time.now()).toBe(100);
    await set.close();
    expect(time.timers).toBe(0);
  });
});

test("a replica that keeps failing is left alone by its circuit", async () => {
  const { time, call, places, set } = replicas([
    { tools: { ask: named("a") }, isDown: true },
    { tools: { ask: named("b") }, isDown: true },
  ]);
  for (let round = 0; round < 4; round += 1) await time.run(call("ask").catch(() => undefined));
  expect(set.breakers.every((breaker) => breaker.snapshot().circuits[0]?.state === "open")).toBe(true);
  const connects = places.map((place) => place.connects);
  await expect(time.run(call("ask", {}, { timeoutMs: 100 }))).rejects.toThrow();
  expect(places.map((place) => place.connects)).toEqual(connects);
});

test("lists the tools of a replica that answers", async () => {
  const { set, places } = replicas([{ tools: {}, isDown: true }, { tools: { ask: named("b") } }]);
  expect((await set.tools()).map(({ name }) => name)).toEqual(["ask"]);
  expect(places.map(({ connects }) => connects)).toEqual([1, 1]);
  await set.close();
  expect(set.state).toBe("closed");
});

test.each([
  [{}, /replicas must be an array/],
  [{ replicas: [] }, /replicas must be an array/],
  [{ replicas: [{}] }, /replicas\[0\] must be an object/],
  [{ replicas: [{ connect: () => undefined }], connectTimeoutMs: -1 }, /connectTimeoutMs/],
])("refuses %j and names the option", (options, message) => {
  expect(() => createReplicas(options as never)).toThrow(message);
});
