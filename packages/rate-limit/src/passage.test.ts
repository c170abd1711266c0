import { type CallOptions, type Middleware, type WrapOptions, wrapTransport } from "@mcp-tx/core";
import { virtualTime } from "@mcp-tx/core/testing";
import { expect, test } from "vitest";
import { type ConcurrencyLimitOptions, concurrencyLimit } from "./concurrency-limit.js";

interface Setup extends Partial<ConcurrencyLimitOptions> {
  readonly before?: Middleware;
  readonly wrap?: WrapOptions;
}

interface Message {
  readonly id?: unknown;
  readonly method?: string;
  readonly params?: Readonly<Record<string, unknown>>;
}

/** A host that talks to a server which answers only when it is told to. */
function client({ before, wrap, max = 1, ...options }: Setup = {}) {
  const time = virtualTime();
  const sent: { readonly name: unknown; readonly id: unknown }[] = [];
  const transport = {
    onmessage: undefined as ((message: object) => void) | undefined,
    onclose: undefined as (() => void) | undefined,
    async send(message: Message) {
      if (message.method === "tools/call") sent.push({ name: message.params?.name, id: message.id });
    },
  };
  const layers = [before, concurrencyLimit({ max, ...options })].filter((layer) => layer !== undefined);
  const wrapped = wrapTransport(transport, layers, { runtime: time.runtime, timeoutMs: Infinity, ...wrap });
  const answers: unknown[] = [];
  wrapped.onmessage = (message) => void answers.push(message);
  const names = (): unknown[] => sent.map(({ name }) => name);
  return {
    time,
    answers,
    names,
    call: (name: string, id: string = name) =>
      void wrapped.send({ id, method: "tools/call", params: { name, arguments: {} } }),
    cancel: (requestId: string) => void wrapped.send({ method: "notifications/cancelled", params: { requestId } }),
    /** The server answers the n-th request that it got. */
    answer: (index = 0) => transport.onmessage?.({ jsonrpc: "2.0", id: sent[index]?.id, result: { content: [] } }),
    close: () => transport.onclose?.(),
  };
}

const TIMEOUT: CallOptions & WrapOptions = { attemptTimeoutMs: 100 };

test("a remote call that timed out holds its slot until its late answer", async () => {
  const { time, call, answer, names } = client({ wrap: TIMEOUT, abandonedMs: 1000 });
  call("slow");
  call("next");
  await time.advance(150);
  expect(names()).toEqual(["slow"]);
  answer();
  await time.advance(0);
  expect(names()).toEqual(["slow", "next"]);
  // The timer of abandoned work is gone with it, the attempt timeout of the other call is left.
  expect(time.timers).toBe(1);
});

test("a remote call that its host cancelled holds its slot until its late answer", async () => {
  const { time, call, cancel, answer, names, answers } = client();
  call("slow");
  call("next");
  await time.advance(10);
  cancel("slow");
  await time.advance(10);
  expect(names()).toEqual(["slow"]);
  answer();
  await time.advance(0);
  expect(names()).toEqual(["slow", "next"]);
  expect(answers).toEqual([]);
});

test("a connection that closes gives the slots of abandoned calls back at once", async () => {
  const { time, call, close, names } = client({ wrap: TIMEOUT, max: 2, abandonedMs: 60_000 });
  call("one");
  call("two");
  await time.advance(150);
  call("next");
  await time.advance(0);
  expect(names()).toEqual(["one", "two"]);
  close();
  await time.advance(0);
  expect(names()).toEqual(["one", "two", "next"]);
});

test.each<[string, Setup, number]>([
  ["abandonedMs", { abandonedMs: 700, wrap: TIMEOUT }, 800],
  ["the attempt timeout", { wrap: TIMEOUT }, 200],
  ["60 s without an attempt timeout", { wrap: { timeoutMs: Infinity } }, 60_010],
  ["no time at all", { abandonedMs: 0, wrap: TIMEOUT }, 100],
])("a remote call that is never answered gives its slot back after %s", async (_, setup, freeAt) => {
  const { time, call, cancel, names } = client(setup);
  call("lost");
  call("next");
  await time.advance(10);
  if (setup.wrap?.attemptTimeoutMs === undefined) cancel("lost");
  await time.advance(freeAt - 11);
  expect(names()).toEqual(["lost"]);
  await time.advance(1);
  expect(names()).toEqual(["lost", "next"]);
});

test("with abandonedMs Infinity only an answer or a close gives it back", async () => {
  const { time, call, answer, names } = client({ abandonedMs: Infinity, wrap: TIMEOUT });
  call("lost");
  call("next");
  await time.advance(10_000_000);
  expect(names()).toEqual(["lost"]);
  expect(time.timers).toBe(0);
  answer();
  await time.advance(0);
  expect(names()).toEqual(["lost", "next"]);
});

test("an answer after the slot was given up as abandoned frees no second one", async () => {
  const { time, call, answer, names } = client({ abandonedMs: 50, wrap: TIMEOUT });
  call("lost");
  for (const name of ["b", "c"]) call(name);
  await time.advance(160);
  expect(names()).toEqual(["lost", "b"]);
  answer();
  await time.advance(0);
  expect(names()).toEqual(["lost", "b"]);
});

test("a call that is answered leaves no timer behind", async () => {
  const { time, call, answer, answers } = client({ abandonedMs: 50 });
  call("quick");
  answer();
  await time.advance(0);
  expect(answers).toHaveLength(1);
  expect(time.timers).toBe(0);
});

test("of two passages of one call the winner gives its slot back at once, the cancelled loser when it is given up", async () => {
  /** As a hedge does it: the first success wins, and the other attempt is aborted. */
  const race: Middleware = async (ctx, next) => {
    const over = new AbortController();
    const attempts = [1, 2].map((attempt) => next({ ...ctx, attempt, signal: over.signal }));
    for (const attempt of attempts) attempt.catch(() => undefined);
    try {
      return await Promise.race(attempts);
    } finally {
      over.abort(new Error("lost"));
    }
  };
  const hedged: Middleware = (ctx, next) => (ctx.tool === "hedged" ? race(ctx, next) : next(ctx));
  const { time, call, answer, names } = client({ before: hedged, max: 2, abandonedMs: 300 });
  call("hedged");
  for (const name of ["b", "c"]) call(name);
  await time.advance(10);
  expect(names()).toEqual(["hedged", "hedged"]);
  answer(0);
  await time.advance(0);
  expect(names()).toEqual(["hedged", "hedged", "b"]);
  await time.advance(299);
  expect(names()).toHaveLength(3);
  await time.advance(1);
  expect(names()).toEqual(["hedged", "hedged", "b", "c"]);
});
