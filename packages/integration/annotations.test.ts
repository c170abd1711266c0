import type { WrapOptions } from "@mcp-tx/core";
import { retry } from "@mcp-tx/retry";
import { describe, expect, test } from "vitest";
import { type AttachSpec, attach, attachInMemory, type Harness, PLACES, type Place } from "./fixtures/attach.js";
import { type RawPeer, rawPeer } from "./fixtures/raw-peer.js";

const OK = { content: [{ type: "text", text: "ok" }] };
const INPUT = { type: "object" };
const OUTPUT = { type: "object", properties: { count: { type: "number" } }, required: ["count"] };
const never = (): Promise<never> => new Promise(() => undefined);

interface Probe extends Harness {
  readonly calls: () => number;
  readonly lists: () => number;
}

interface ProbeSpec {
  readonly list: (page: number, params: unknown) => unknown;
  readonly wrap?: WrapOptions;
  readonly middleware?: AttachSpec["middleware"];
  /** Which executions never answer. */
  readonly hangs?: (execution: number) => boolean;
}

const once = retry({ maxAttempts: 2, baseDelayMs: 0 });

/** A client whose calls time out, and a server that counts runs and listings. */
async function probe(
  { line, via }: Place,
  { list, wrap, middleware = [once], hangs = (n) => n === 1 }: ProbeSpec,
): Promise<Probe> {
  let calls = 0;
  let lists = 0;
  const server = line.lowLevelServer({
    call: () => {
      calls += 1;
      return hangs(calls) ? never() : OK;
    },
    list: (request) => {
      lists += 1;
      return list(lists, (request as { readonly params?: unknown }).params);
    },
    capabilities: { tools: { listChanged: true } },
  });
  const harness = await attachInMemory(line, via, server, {
    middleware,
    wrap: { attemptTimeoutMs: 30, trustAnnotations: true, ...wrap },
  });
  return { ...harness, calls: () => calls, lists: () => lists };
}

const readOnly = { name: "read", inputSchema: INPUT, annotations: { readOnlyHint: true } };

describe.each(PLACES)("annotations, $on", (place) => {
  const { line, via } = place;

  test("of a trusted server let a read-only tool be called again", async () => {
    const { call, calls, lists } = await probe(place, { list: () => ({ tools: [readOnly] }) });
    const seen = await call("read");
    expect(seen.result).toMatchObject(OK);
    expect(seen.report).toMatchObject({ status: "completed", execution: "executed", attempts: 2 });
    expect([calls(), lists()]).toEqual([2, 1]);
  });

  test("of an untrusted server are not even asked for", async () => {
    const { call, calls, lists } = await probe(place, {
      list: () => ({ tools: [readOnly] }),
      wrap: { trustAnnotations: false },
    });
    const seen = await call("read");
    expect(seen.report).toMatchObject({
      status: "timeout",
      execution: "unknown",
      attempts: 1,
      error: { code: "outcome_unknown" },
    });
    expect([calls(), lists()]).toEqual([1, 0]);
  });

  test("are not looked up on the success path", async () => {
    const { call, lists } = await probe(place, { list: () => ({ tools: [readOnly] }), hangs: () => false });
    await call("read");
    expect(lists()).toBe(0);
  });

  test.each([
    { what: "no annotations", tool: { name: "read", inputSchema: INPUT } },
    { what: "a destructive hint", tool: { ...readOnly, annotations: { destructiveHint: true } } },
    { what: "a hint that is no boolean", tool: { ...readOnly, name: "read", annotations: { title: "true" } } },
    { what: "another name", tool: { ...readOnly, name: "other" } },
  ])("with $what allow nothing", async ({ tool }) => {
    const { call, calls } = await probe(place, { list: () => ({ tools: [tool] }) });
    expect((await call("read")).report).toMatchObject({ execution: "unknown", attempts: 1 });
    expect(calls()).toBe(1);
  });

  test("are read raw: the client does not start to validate outputs", async () => {
    const tool = { ...readOnly, outputSchema: OUTPUT };
    const { call, client, calls } = await probe(place, { list: () => ({ tools: [tool] }) });
    const seen = await call("read");
    expect(seen.error).toBeUndefined();
    expect((await call("read")).result).toMatchObject(OK);
    expect(calls()).toBe(3);
    // The trap is real: the client's own listing turns the same call into a failure.
    await client.listTools();
    expect((await call("read")).error).toMatchObject({ code: -32_600 });
  });

  test("that cannot be listed mean untrusted, and are asked for again by the next call", async () => {
    const { call, calls, lists } = await probe(place, {
      list: (n) => {
        if (n === 1) throw new Error("no list today");
        return { tools: [readOnly] };
      },
      hangs: (n) => n <= 2,
    });
    expect((await call("read")).report).toMatchObject({ execution: "unknown", attempts: 1 });
    expect((await call("read")).report).toMatchObject({ status: "completed", attempts: 2 });
    expect([calls(), lists()]).toEqual([3, 2]);
  });

  test("whose listing hangs do not outlast the call's deadline", async () => {
    const { call, calls, lists } = await probe(place, { list: never, wrap: { timeoutMs: 120 } });
    const seen = await call("read");
    expect(seen.elapsedMs).toBeLessThan(1000);
    expect(seen.report).toMatchObject({ execution: "unknown", attempts: 1 });
    expect([calls(), lists()]).toEqual([1, 1]);
  });

  test("whose listing hangs do not outlast the caller's patience", async () => {
    const controller = new AbortController();
    const { call } = await probe(place, {
      list: () => {
        setTimeout(() => controller.abort(), 10);
        return never();
      },
    });
    const seen = await call("read", {}, { signal: controller.signal });
    expect(seen.elapsedMs).toBeLessThan(1000);
    expect(seen.report).toMatchObject({ execution: "unknown", attempts: 1 });
  });

  test("are kept for the connection", async () => {
    const { call, lists } = await probe(place, { list: () => ({ tools: [readOnly] }), hangs: (n) => n % 2 === 1 });
    for (let n = 0; n < 3; n += 1) expect((await call("read")).report.attempts).toBe(2);
    expect(lists()).toBe(1);
  });

  test("are read again after the server said that its tools changed", async () => {
    const { call, calls, lists, serverTransport } = await changing(place);
    expect((await call("read")).report.attempts).toBe(2);
    await serverTransport.send({ jsonrpc: "2.0", method: "notifications/tools/list_changed" });
    expect((await call("read")).report).toMatchObject({ attempts: 1, execution: "unknown" });
    expect([calls(), lists()]).toEqual([3, 2]);
  });

  test("are found on a later page", async () => {
    const { call, lists } = await probe(place, {
      list: (n) => (n < 3 ? { tools: [], nextCursor: `page-${n}` } : { tools: [readOnly] }),
    });
    expect((await call("read")).report.attempts).toBe(2);
    expect(lists()).toBe(3);
  });

  test("of a server that never stops listing are given up after 20 pages", async () => {
    const { call, lists } = await probe(place, { list: (n) => ({ tools: [], nextCursor: `page-${n}` }) });
    expect((await call("read")).report).toMatchObject({ attempts: 1, execution: "unknown" });
    expect(lists()).toBe(20);
  });

  test.each([
    { tools: "many" },
    { tools: [null, 7, { name: 3 }] },
    {},
    { tools: [{ name: "read", annotations: "readOnly" }] },
  ])("in a listing that makes no sense mean untrusted: %j", async (listing) => {
    const [near, far] = line.pair();
    let calls = 0;
    const peer: RawPeer = await rawPeer(far, (message, send) => {
      if (message.method === "tools/list") send({ result: listing });
      else calls += 1;
    });
    const { call } = await attach(line, via, near, {
      middleware: [once],
      wrap: { attemptTimeoutMs: 30, trustAnnotations: true },
    });
    expect((await call("read")).report).toMatchObject({ attempts: 1, execution: "unknown" });
    expect(calls).toBe(1);
    expect(peer.received.filter(({ method }) => method === "tools/list")).toHaveLength(1);
  });

  test("are trusted by peer when a function decides", async () => {
    const names: (string | undefined)[] = [];
    const trustAnnotations: WrapOptions["trustAnnotations"] = ({ server }) => {
      names.push(server);
      return server === "fixture";
    };
    const { call } = await probe(place, { list: () => ({ tools: [readOnly] }), wrap: { trustAnnotations } });
    expect((await call("read")).report.attempts).toBe(2);
    expect(names).toEqual(["fixture"]);
  });
});

/** As {@link probe}, with a tool that is read-only in the first listing alone, and the server's end of the wire. */
async function changing(place: Place) {
  const { line, via } = place;
  let calls = 0;
  let lists = 0;
  const server = line.lowLevelServer({
    call: () => {
      calls += 1;
      return calls === 2 ? OK : never();
    },
    list: () => {
      lists += 1;
      return { tools: lists === 1 ? [readOnly] : [{ ...readOnly, annotations: {} }] };
    },
    capabilities: { tools: { listChanged: true } },
  });
  const harness = await attachInMemory(line, via, server, {
    middleware: [once],
    wrap: { attemptTimeoutMs: 30, trustAnnotations: true },
  });
  return { ...harness, calls: () => calls, lists: () => lists };
}
