import { expect, test } from "vitest";
import type { Message } from "./proxy-messages.js";
import { FakeServer } from "./proxy-session.fixture.js";
import { Upstream, type UpstreamOptions } from "./upstream.js";
import type { Loss } from "./upstream-link.js";

interface Scene {
  readonly upstream: Upstream;
  readonly server: FakeServer;
  readonly received: Message[];
  readonly gaveUp: Loss[];
}

function scene(given: Partial<UpstreamOptions> = {}): Scene {
  const server = new FakeServer();
  const received: Message[] = [];
  const gaveUp: Loss[] = [];
  const upstream = new Upstream({
    open: server.open,
    greet: () => Promise.resolve(),
    onDiagnostic: () => undefined,
    onGiveUp: (loss) => gaveUp.push(loss),
    onFlow: () => undefined,
    greetTimeoutMs: 60_000,
    random: () => 0,
    ...given,
  });
  upstream.onmessage = (message) => received.push(message);
  return { upstream, server, received, gaveUp };
}

const READ = { jsonrpc: "2.0", id: 1, method: "resources/read" };

test("connects once for all who wait", async () => {
  const { upstream, server } = scene();
  await Promise.all(Array.from({ length: 100 }, () => upstream.ready()));
  expect(server.links).toHaveLength(1);
});

test("gives up a connection whose greeting takes too long, and makes another", async () => {
  let greetings = 0;
  const greet = (): Promise<void> => {
    greetings += 1;
    return greetings === 1 ? new Promise(() => undefined) : Promise.resolve();
  };
  const { upstream, server } = scene({ greet, greetTimeoutMs: 5 });
  await upstream.ready();
  expect(server.links.map(({ isClosed }) => isClosed)).toEqual([true, false]);
});

test("hears nothing more of a connection that is lost", async () => {
  const { upstream, server, received } = scene();
  await upstream.ready();
  await upstream.send(READ);
  const first = server.link;
  first.die();
  await upstream.ready();
  await upstream.send({ ...READ, id: 2 });
  first.say({ id: 2, result: { from: "the first" } });
  first.say({ method: "notifications/message" });
  server.link.say({ id: 2, result: { from: "the second" } });
  expect(received).toMatchObject([
    { id: 1, error: { code: -32_000 } },
    { id: 2, result: { from: "the second" } },
  ]);
});

test("does not connect for ever to a server that is of no use, but again when it is asked for", async () => {
  const { upstream, server, gaveUp } = scene();
  server.launchLoss = { reason: "no", exitCode: 1 };
  await expect(upstream.ready()).rejects.toThrow("The server is not connected: no.");
  expect(gaveUp).toHaveLength(1);
  server.launchLoss = undefined;
  await upstream.ready();
  expect(upstream.isReady).toBe(true);
});

test("refuses what is sent after it is closed, and what waits for it then", async () => {
  const { upstream, server } = scene();
  server.launchLoss = { reason: "no", exitCode: 1 };
  const waiting = upstream.ready();
  const refused = expect(waiting).rejects.toMatchObject({ code: "NOT_CONNECTED" });
  await upstream.close(0);
  await refused;
  await expect(upstream.send(READ)).rejects.toMatchObject({ code: "NOT_CONNECTED" });
  await expect(upstream.ready()).rejects.toMatchObject({ code: "NOT_CONNECTED" });
});

test("refuses a tool call, as one that did not leave, while there is no server", async () => {
  const { upstream } = scene();
  const call = { jsonrpc: "2.0", id: 1, method: "tools/call", params: { name: "a" } };
  await expect(upstream.send(call)).rejects.toMatchObject({ code: "NOT_CONNECTED" });
});

test("closes a connection that is made while it closes", async () => {
  let finish = (): void => undefined;
  const server = new FakeServer();
  const { upstream } = scene({
    open: async (events) => {
      await new Promise<void>((resolve) => {
        finish = resolve;
      });
      return server.open(events);
    },
  });
  upstream.connect();
  await new Promise((resolve) => setImmediate(resolve));
  const closed = upstream.close(0);
  finish();
  await closed;
  expect(server.link.isClosed).toBe(true);
});

test("answers a request once whose sending fails because the connection is lost", async () => {
  const { upstream, server, received } = scene();
  await upstream.ready();
  const { link } = server;
  link.send = async () => {
    link.die();
    throw new Error("EPIPE");
  };
  await upstream.send(READ);
  expect(received).toMatchObject([{ id: 1, error: { code: -32_000 } }]);
});

test("tells a new server nothing that was meant for the one before", async () => {
  const { upstream, server } = scene();
  await upstream.ready();
  server.link.die();
  await upstream.send({ jsonrpc: "2.0", method: "notifications/roots/list_changed" });
  await upstream.send({ jsonrpc: "2.0", id: 0, result: {} });
  await upstream.ready();
  expect(server.links).toHaveLength(2);
  expect(server.link.received).toEqual([]);
});

test("waits with its answers for what a lost connection may still answer, and leaves the next one's alone", async () => {
  const { upstream, server, received } = scene();
  await upstream.ready();
  await upstream.send(READ);
  await upstream.send({ ...READ, id: 2 });
  const first = server.link;
  let drain = (): void => undefined;
  const drained = new Promise<void>((resolve) => {
    drain = resolve;
  });
  first.die({ drained });
  await upstream.ready();
  await upstream.send({ ...READ, id: 3 });
  expect(received).toEqual([]);
  first.say({ id: 2, result: {} });
  drain();
  await drained;
  await Promise.resolve();
  expect(received).toMatchObject([
    { id: 2, result: {} },
    { id: 1, error: { code: -32_000 } },
  ]);
});

test.each(["ends", "fails"])(
  "closing waits until what a lost session left has its answer, when its drain %s",
  async (how) => {
    const { upstream, server, received } = scene();
    await upstream.ready();
    await upstream.send(READ);
    let over: () => void = () => undefined;
    const drained = new Promise<void>((resolve, reject) => {
      over = how === "ends" ? resolve : () => reject(new Error("closing the transport failed"));
    });
    server.link.die({ drained });
    await upstream.ready();
    let isClosed = false;
    const closing = upstream.close(0).then(() => {
      isClosed = true;
    });
    await new Promise((resolve) => setImmediate(resolve));
    expect([isClosed, received]).toEqual([false, []]);
    over();
    await closing;
    expect(received).toMatchObject([{ id: 1, error: { code: -32_000 } }]);
  },
);
