import { McpTxError, type Middleware, withInnermost, wrapClient } from "@mcp-tx/core";
import { type ServedTool, virtualTime } from "@mcp-tx/core/testing";
import { retry } from "@mcp-tx/retry";
import { describe, expect, test } from "vitest";
import { fakeClient, LINES, subject, world } from "./session.fixture.js";
import { createSession } from "./session.js";
import type { Connect } from "./types.js";

const text = (value: string) => ({ content: [{ type: "text", text: value }] });
const never = (): Promise<never> => new Promise(() => undefined);
const ok: ServedTool = { run: () => text("ok") };
const stuck: ServedTool = { run: never };

describe.each(LINES)("with clients of SDK $line", ({ client }) => {
  test("connects when the first call comes, and once", async () => {
    const time = virtualTime();
    const there = world({ pay: ok }, client);
    const { session, call } = subject(time, { connect: there.connect });
    expect(session.state).toBe("idle");
    expect(there.clients).toHaveLength(0);
    expect(await time.run(call("pay"))).toEqual(text("ok"));
    expect(await time.run(call("pay"))).toEqual(text("ok"));
    expect(there.clients).toHaveLength(1);
    expect(session.state).toBe("connected");
    await session.close();
    expect(there.open).toBe(0);
  });

  test("a call whose connection is cut ends unknown, and the next one reconnects", async () => {
    const time = virtualTime();
    const there = world({ pay: ok, hang: stuck }, client);
    const { session, call, reports, events } = subject(time, { connect: there.connect });
    await time.run(call("pay"));
    const hanging = call("hang");
    await time.advance(0);
    there.cut();
    await expect(hanging).rejects.toThrow();
    expect(reports.at(-1)).toMatchObject({ execution: "unknown", status: "unknown" });
    expect(await time.run(call("pay"))).toEqual(text("ok"));
    expect(there.clients).toHaveLength(2);
    expect(events.map(({ type }) => type)).toEqual(["connecting", "connected", "lost", "connecting", "connected"]);
    await session.close();
  });

  test("100 calls that come while it is disconnected make one connection", async () => {
    const time = virtualTime();
    const there = world({ pay: ok }, client);
    const { session, call } = subject(time, { connect: there.connect });
    await time.run(call("pay"));
    there.cut();
    const calls = Array.from({ length: 100 }, () => call("pay"));
    await time.run(Promise.all(calls));
    expect(there.clients).toHaveLength(2);
    expect(there.executions("pay")).toBe(101);
    await session.close();
  });

  test("retry does not send in a new session what was sent in an old one", async () => {
    const time = virtualTime();
    const there = world({ pay: ok, hang: stuck }, client);
    const { session, call, reports } = subject(time, { connect: there.connect }, [
      retry({ baseDelayMs: 1, replay: "always" }),
    ]);
    await time.run(call("pay"));
    const hanging = call("hang");
    await time.advance(0);
    there.cut();
    const error = await time.run(hanging.catch((thrown: unknown) => thrown));
    expect(error).toMatchObject({ code: "session_expired", message: expect.stringContaining("It is unknown whether") });
    expect(reports.at(-1)).toMatchObject({ execution: "unknown", attempts: 1 });
    expect(there.executions("hang")).toBe(1);
    await session.close();
  });

  test("replayAcrossSessions lets the gate decide alone", async () => {
    const time = virtualTime();
    let runs = 0;
    const twice: ServedTool = { run: () => (++runs === 1 ? never() : text("second")) };
    const there = world({ twice }, client);
    const { session, call, reports } = subject(time, { connect: there.connect, replayAcrossSessions: () => true }, [
      retry({ baseDelayMs: 1, replay: "always" }),
    ]);
    const calling = call("twice");
    await time.advance(0);
    there.cut();
    expect(await time.run(calling)).toEqual(text("second"));
    expect(reports.at(-1)).toMatchObject({ attempts: 2, status: "completed" });
    await session.close();
  });

  test("a read-only tool of a trusted server is read again in a new session", async () => {
    const time = virtualTime();
    let runs = 0;
    const read: ServedTool = {
      annotations: { readOnlyHint: true },
      run: () => (++runs === 1 ? never() : text("read")),
    };
    const there = world({ read }, client);
    const { session, call } = subject(time, { connect: there.connect }, [retry({ baseDelayMs: 1 })], {
      trustAnnotations: true,
    });
    const calling = call("read");
    await time.advance(0);
    there.cut();
    expect(await time.run(calling)).toEqual(text("read"));
    await session.close();
  });

  test("a caller who goes away while it is looked up whether a tool only reads is cancelled", async () => {
    const time = virtualTime();
    const there = world({ hang: stuck }, client);
    let givesLists = true;
    const connect: Connect = async (options) => {
      const made = await there.connect(options);
      // The new server does not answer tools/list, so that the call waits for it.
      if (!givesLists) Reflect.set(made, "request", never);
      return made;
    };
    const { session, call, reports } = subject(time, { connect }, [retry({ baseDelayMs: 1, replay: "always" })], {
      trustAnnotations: true,
    });
    const controller = new AbortController();
    const calling = call("hang", {}, { signal: controller.signal });
    await time.advance(0);
    givesLists = false;
    there.cut();
    await time.advance(1000);
    expect(there.clients).toHaveLength(2);
    expect(reports).toHaveLength(0);
    controller.abort(new Error("gone"));
    await expect(calling).rejects.toThrow("gone");
    expect(reports[0]).toMatchObject({ status: "cancelled", execution: "unknown" });
    expect(time.timers).toBe(0);
    await session.close();
  });

  test("lists the tools once for each connection", async () => {
    const time = virtualTime();
    const there = world({ pay: ok }, client);
    const { session } = subject(time, { connect: there.connect });
    const first = await session.tools();
    expect(first.map(({ name }) => name)).toEqual(["pay"]);
    expect(await session.tools()).toBe(first);
    there.cut();
    const second = await time.run(session.tools());
    expect(second).not.toBe(first);
    await session.close();
  });
});

describe("between the choice of a connection and the dispatch", () => {
  test("a connection that was replaced is noticed, and nothing goes to the other one unseen", async () => {
    const time = virtualTime();
    const there = world({ pay: ok }, LINES[0].client);
    let replaces = false;
    const last: Middleware = async (ctx, next) => {
      if (replaces) {
        replaces = false;
        there.cut();
        await call("pay");
      }
      return next(ctx);
    };
    const outer: Middleware = (ctx, next) => next(withInnermost(ctx, last));
    const { session, call, reports } = subject(time, { connect: there.connect }, [outer]);
    await time.run(call("pay"));
    replaces = true;
    await expect(time.run(call("pay"))).rejects.toMatchObject({
      message: expect.stringContaining("the connection was lost just before"),
      outcome: { execution: "not-executed", transient: true },
    });
    expect(there.clients).toHaveLength(2);
    expect(there.executions("pay")).toBe(2);
    expect(reports.at(-1)).toMatchObject({ attempts: 0, execution: "not-executed" });
    await session.close();
  });

  test("a call that never left may go to any session", async () => {
    const time = virtualTime();
    const there = world({ pay: ok }, LINES[0].client);
    const first = fakeClient();
    first.callTool = () => {
      first.transport.onclose?.();
      return Promise.reject(Object.assign(new Error("refused"), { code: "ECONNREFUSED" }));
    };
    let isFirst = true;
    const connect: Connect = (options) => {
      if (!isFirst) return there.connect(options);
      isFirst = false;
      return first;
    };
    const { session, call, reports } = subject(time, { connect }, [retry({ baseDelayMs: 1 })]);
    expect(await time.run(call("pay"))).toEqual(text("ok"));
    expect(reports[0]).toMatchObject({ status: "completed", attempts: 1 });
    expect(there.executions("pay")).toBe(1);
    await session.close();
  });
});

describe("a connection that fails", () => {
  test("ends the call as not executed, with the cause", async () => {
    const time = virtualTime();
    const cause = new Error("spawn failed");
    const { call, reports } = subject(time, { connect: () => Promise.reject(cause), name: "shop" });
    const error = await time.run(call("pay").catch((thrown: unknown) => thrown));
    expect(McpTxError.isInstance(error)).toBe(true);
    expect(error).toMatchObject({ code: "transport_error", cause });
    expect((error as Error).message).toContain('Tool "pay" was not called: server "shop" cannot be reached.');
    expect((error as McpTxError).outcome).toMatchObject({ execution: "not-executed", transient: true });
    expect(reports[0]).toMatchObject({ execution: "not-executed", attempts: 0, status: "failed" });
  });

  test("a connect that throws at once is a failure like any other, and is retried", async () => {
    const time = virtualTime();
    const there = world({ pay: ok }, LINES[0].client);
    let tries = 0;
    const connect = () => {
      tries += 1;
      if (tries < 3) throw new Error("not yet");
      return there.connect({ signal: new AbortController().signal });
    };
    const { call, reports } = subject(time, { connect }, [retry({ maxAttempts: 5 })]);
    await time.run(call("pay"));
    expect(tries).toBe(3);
    expect(reports[0]).toMatchObject({ status: "completed", attempts: 1 });
  });

  test("waits longer after each failure, for all callers together", async () => {
    const time = virtualTime();
    const at: number[] = [];
    const connect = () => {
      at.push(time.now());
      throw new Error("down");
    };
    const { call, session } = subject(time, { connect, reconnect: { jitter: "none", maxDelayMs: 500 } });
    for (let round = 0; round < 5; round += 1) {
      const calls = Array.from({ length: 3 }, () => call("pay"));
      const ends = await time.run(Promise.allSettled(calls));
      expect(ends.every(({ status }) => status === "rejected")).toBe(true);
    }
    expect(at).toEqual([0, 200, 600, 1100, 1600]);
    expect(session.state).toBe("waiting");
    expect(time.timers).toBe(0);
  });

  test("a wait that does not fit before the deadline is not begun", async () => {
    const time = virtualTime();
    const connect = () => {
      throw new Error("down");
    };
    const { call } = subject(time, { connect });
    await time.run(call("pay").catch(() => undefined));
    const error = await time.run(call("pay", {}, { timeoutMs: 150 }).catch((thrown: unknown) => thrown));
    expect(error).toMatchObject({ code: "deadline", retryAfterMs: 200 });
    expect(time.now()).toBe(0);
  });

  test.each([
    ["no client", () => ({}), /callTool method/],
    ["nothing", () => undefined, /callTool method/],
    ["a client that hides its transport", () => ({ callTool: async () => ({}) }), /transport property/],
    ["a wrapped client", () => wrapClient(fakeClient(), []), /bare client/],
  ])("%s is not tried again by retry", async (_, give, message) => {
    const time = virtualTime();
    let tries = 0;
    const connect = () => {
      tries += 1;
      return give() as never;
    };
    const { call } = subject(time, { connect }, [retry()]);
    const error = await time.run(call("pay").catch((thrown: unknown) => thrown));
    expect(error).toMatchObject({ cause: expect.objectContaining({ message: expect.stringMatching(message) }) });
    expect(tries).toBe(1);
  });

  test("a client that is closed when it is given counts as a failure", async () => {
    const time = virtualTime();
    const { call, session } = subject(time, { connect: () => ({ ...fakeClient(), transport: undefined }) as never });
    await expect(time.run(call("pay"))).rejects.toMatchObject({ outcome: { transient: true } });
    expect(session.state).toBe("waiting");
  });

  test("a server that dies after each start is not started as fast as it dies", async () => {
    const time = virtualTime();
    const at: number[] = [];
    const connect = () => {
      at.push(time.now());
      const { transport } = fakeClient();
      return {
        transport,
        callTool: () => {
          transport.onclose?.();
          return Promise.reject(new Error("died"));
        },
      } as never;
    };
    const { call } = subject(time, { connect });
    for (let round = 0; round < 4; round += 1) await time.run(call("pay").catch(() => undefined));
    expect(at).toEqual([0, 200, 600, 1400]);
  });
});

test("a client that never closes holds nobody for ever", async () => {
  const time = virtualTime();
  const { session, call } = subject(time, { connect: () => ({ ...fakeClient(), close: () => new Promise(() => {}) }) });
  await time.run(call("pay"));
  const end = await time.run(session.close().catch((thrown: unknown) => thrown));
  expect(end).toMatchObject({
    message: expect.stringMatching(/^close: the client of .* did not close within 10000 ms$/),
  });
  expect(time.now()).toBe(10_000);
});

test("a client that closes leaves no timer behind", async () => {
  const time = virtualTime();
  const client = fakeClient();
  const { session, call } = subject(time, { connect: () => client });
  await time.run(call("pay"));
  await session.close();
  expect(client.closes).toBe(1);
  expect(time.timers).toBe(0);
});

test.each([
  [{}, /createSession: connect must be/],
  [{ connect: 1 }, /createSession: connect must be/],
  [{ connect: fakeClient, connectTimeoutMs: 0 }, /createSession: connectTimeoutMs/],
  [{ connect: fakeClient, reconnect: { multiplier: 0 } }, /createSession: reconnect: multiplier/],
  [{ connect: fakeClient, replayAcrossSessions: "yes" }, /createSession: replayAcrossSessions/],
  [{ connect: fakeClient, name: "" }, /createSession: name/],
  [{ connect: fakeClient, retries: 1 }, /unknown option "retries"/],
])("refuses %j and names the option", (options, message) => {
  expect(() => createSession(options as never)).toThrow(message);
});

test("refuses calls of another clock", async () => {
  const { call } = subject(virtualTime(), { connect: fakeClient, runtime: virtualTime().runtime });
  await expect(call("pay")).rejects.toThrow("createSession: runtime must be the runtime of the calls");
});
