import { join } from "node:path";
import {
  type CallReport,
  readCallMeta,
  reportOf,
  type ToolResult,
  transaction,
  wrapClient,
  wrapServer,
  wrapTool,
  wrapTransport,
} from "@mcp-tx/core";
import { type IdempotencyOptions, idempotency, memoryStore } from "@mcp-tx/idempotency";
import { sqliteStore } from "@mcp-tx/sqlite";
import { describe, expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { connectIn, ERAS, type Era } from "./fixtures/eras.js";
import { aiSdk, langchain } from "./fixtures/hosts.js";
import { HTTP_WAYS, STATELESS_WAYS, tempFolder } from "./fixtures/idempotent-servers.js";
import { type SdkClient, type SdkMcpServer, v1 } from "./fixtures/lines.js";

/** Where people put the middleware: under a host, round a local function, in a workflow, in a server that calls others. */

const text = (value: unknown) => ({ content: [{ type: "text", text: String(value) }] });

/** A file of records that can be opened again. */
function recordsFile(): () => ReturnType<typeof sqliteStore> {
  const path = join(tempFolder(), "records.db");
  return () => {
    const bundle = sqliteStore({ path });
    onTestFinished(() => bundle.close());
    return bundle;
  };
}

describe.each([aiSdk, langchain])("$on on a wrapped transport", ({ open }) => {
  test.each(["none", "memory"] as const)("runs a repeated call once, server store %s", async (records) => {
    const [way] = [...HTTP_WAYS, ...STATELESS_WAYS];
    const server = await (way as (typeof HTTP_WAYS)[number]).start(records);
    const reports: CallReport[] = [];
    const key: IdempotencyOptions["key"] = ({ args }) => (typeof args["text"] === "string" ? args["text"] : undefined);
    const transport = wrapTransport(server.open(), idempotency({ key }), {
      onReport: (report) => reports.push(report),
    });
    const call = await open(transport);
    const answers = [
      await call("echo", { text: "a" }),
      await call("echo", { text: "a" }),
      await call("echo", { text: "b" }),
    ];
    expect(answers.map((answer) => answer.text)).toEqual(["a", "a", "b"]);
    expect(server.executions().map(({ args }) => args["text"])).toEqual(["a", "b"]);
    expect(reports.map(({ duplicate }) => duplicate)).toEqual([false, true, false]);
    const failures = [await call("throws", {}), await call("throws", {})];
    expect(failures[1]?.text).toBe(failures[0]?.text);
    expect(server.executions()).toHaveLength(4);
  });
});

describe("a local function", () => {
  test("runs once under a key, also when its process starts again", async () => {
    const open = recordsFile();
    const runs: unknown[] = [];
    const charge = ({ amount }: { readonly amount: number }) => ({ receipt: runs.push(amount), amount });
    const first = open();
    const before = wrapTool("charge", charge, idempotency({ store: first.idempotency }));
    const options = { idempotencyKey: "order-1" };
    const together = await Promise.all([before({ amount: 5 }, options), before({ amount: 5 }, options)]);
    expect(together).toEqual([
      { receipt: 1, amount: 5 },
      { receipt: 1, amount: 5 },
    ]);
    expect(together[0]).not.toBe(together[1]);
    await first.close();
    const after = wrapTool("charge", charge, idempotency({ store: open().idempotency }));
    const again = await after({ amount: 5 }, options);
    expect(again).toEqual({ receipt: 1, amount: 5 });
    expect(reportOf(again)).toMatchObject({ duplicate: true, attempts: 0, recorded: true });
    await expect(after({ amount: 6 }, options)).rejects.toThrow(/other arguments/);
    expect(runs).toEqual([5]);
  });
});

describe.each(ERAS)("$on", (era) => {
  const { line } = era;

  /** A plain server with a ledger, and what was booked. */
  async function ledger() {
    const booked: unknown[] = [];
    const connection = await connectIn(era, () => {
      const server = line.mcpServer("ledger");
      for (const name of ["debit", "credit"]) {
        server.registerTool(name, { inputSchema: z.looseObject({}) }, ((args: object) => {
          booked.push({ name, ...args });
          return { ...text(name), structuredContent: { entry: booked.length } };
        }) as never);
      }
      return server;
    });
    return { ...connection, booked };
  }

  test("a workflow that starts over does nothing again", async () => {
    const open = recordsFile();
    const { client, booked } = await ledger();
    const run = async (stopsHalfWay: boolean) => {
      const bundle = open();
      const caller = wrapClient(client, idempotency({ store: bundle.idempotency, ttlMs: Infinity }));
      const t = transaction(caller, { id: "transfer-7" });
      const values: unknown[] = [await t.invoke("take", "debit", { amount: 5 })];
      if (!stopsHalfWay) {
        values.push(await t.invoke("give", "credit", { amount: 5 }));
        values.push(await t.invoke("fee", "debit", { amount: 1 }));
      }
      await bundle.close();
      return { values, attempts: t.attempts, duplicates: t.reports.map(({ duplicate }) => duplicate) };
    };
    await run(true);
    const completed = await run(false);
    const again = await run(false);
    expect(completed).toEqual({
      values: [{ entry: 1 }, { entry: 2 }, { entry: 3 }],
      attempts: 2,
      duplicates: [true, false, false],
    });
    expect(again).toEqual({ values: completed.values, attempts: 0, duplicates: [true, true, true] });
    expect(booked).toHaveLength(3);
  });

  test("a tool that takes the key as an argument gets it, and the arguments are compared without it", async () => {
    const { client, booked, requests } = await ledger();
    const keyArgument = (tool: string) => (tool === "debit" ? "request_id" : undefined);
    const store = memoryStore();
    const caller = wrapClient(client, idempotency({ keyArgument, store }));
    const options = { idempotencyKey: "order-1" };
    await caller.call("debit", { amount: 5 }, options);
    const again = await caller.call("debit", { amount: 5 }, options);
    await caller.call("credit", { amount: 5 }, options);
    await caller.call("debit", { amount: 5 });
    expect(reportOf(again)).toMatchObject({ duplicate: true, attempts: 0 });
    expect(booked).toEqual([
      { name: "debit", amount: 5, request_id: "order-1" },
      { name: "credit", amount: 5 },
      { name: "debit", amount: 5 },
    ]);
    expect(requests).toHaveLength(3);
    // Without the argument it is the same call.
    const plain = wrapClient(client, idempotency({ store }));
    expect(reportOf(await plain.call("debit", { amount: 5 }, options))).toMatchObject({ duplicate: true });
  });
});

/** What a handler gets of either SDK. */
interface Extra {
  readonly _meta?: Readonly<Record<string, unknown>>;
  readonly mcpReq?: { readonly _meta?: Readonly<Record<string, unknown>> };
}

const metaOf = (extra: Extra) => extra.mcpReq?._meta ?? extra._meta;

/** Two servers that recognise duplicates, the tool of one calling the tools of the other. */
async function chain(era: Era, handle: (downstream: SdkClient, extra: Extra) => Promise<ToolResult>) {
  const { line } = era;
  const ran: unknown[] = [];
  const downstream = await connectIn(era, () => {
    const server = line.mcpServer("downstream");
    for (const name of ["debit", "credit"]) {
      server.registerTool(name, { inputSchema: z.looseObject({}) }, ((args: object) => {
        ran.push({ name, ...args });
        return text(`${name} ${ran.length}`);
      }) as never);
    }
    return wrapServer(server, idempotency({ store: memoryStore() }));
  });
  const aware = wrapClient(downstream.client, []) as unknown as SdkClient;
  const upstream = await connectIn(era, () => {
    const server: SdkMcpServer = line.mcpServer("upstream");
    server.registerTool("order", { inputSchema: z.looseObject({}) }, ((_args: object, extra: Extra) =>
      handle(aware, extra)) as never);
    return wrapServer(server, idempotency({ store: memoryStore() }));
  });
  const caller = wrapClient(upstream.client, []);
  const order = (key: string) => caller.call("order", {}, { idempotencyKey: key }) as Promise<ToolResult>;
  return { order, ran, downstream, upstream };
}

const failureOf = (call: Promise<unknown>): Promise<Error> =>
  call.then(
    () => Promise.reject(new Error("the call did not fail")),
    (error) => error,
  );

describe.each(ERAS)("a server that calls another, $on,", (era) => {
  const forward = (client: SdkClient, extra: Extra, name: string, args: object) =>
    client.callTool({ name, arguments: args, _meta: metaOf(extra) }) as Promise<ToolResult>;

  test("may forward the key of its call to several tools", async () => {
    const { order, ran, downstream } = await chain(era, async (client, extra) => {
      await forward(client, extra, "debit", { n: 1 });
      return text(JSON.stringify((await forward(client, extra, "credit", { n: 2 })).content));
    });
    expect((await order("order-1")).isError).not.toBe(true);
    await order("order-1");
    expect(ran).toEqual([
      { name: "debit", n: 1 },
      { name: "credit", n: 2 },
    ]);
    const keys = downstream.requests.map(({ params }) => readCallMeta(params?.["_meta"])?.idempotencyKey);
    expect(keys).toEqual(["order-1", "order-1"]);
  });

  test("gets a conflict or a replay when it forwards one key to one tool twice", async () => {
    const failures: Error[] = [];
    const replays: ToolResult[] = [];
    const { order, ran } = await chain(era, async (client, extra) => {
      await forward(client, extra, "debit", { n: 1 });
      failures.push(await failureOf(forward(client, extra, "debit", { n: 2 })));
      replays.push(await forward(client, extra, "debit", { n: 1 }));
      return text("done");
    });
    await order("order-1");
    expect(failures).toMatchObject([{ message: expect.stringContaining("other arguments") }]);
    expect(reportOf(failures[0])).toMatchObject({ execution: "not-executed", error: { code: "idempotency_conflict" } });
    expect(reportOf(replays[0])).toMatchObject({ duplicate: true });
    expect(ran).toEqual([{ name: "debit", n: 1 }]);
  });

  test("makes a key for each step, out of its own, with a transaction", async () => {
    let failing = true;
    const { order, ran } = await chain(era, async (client, extra) => {
      const key = readCallMeta(metaOf(extra))?.idempotencyKey;
      const t = transaction(client as never, { id: JSON.stringify(["user-1", key]) });
      await t.invoke("first", "debit", { n: 1 });
      await t.invoke("second", "debit", { n: 2 });
      if (failing) return { ...text("out of stock"), isError: true };
      await t.invoke("third", "debit", { n: 2 });
      return text("done");
    });
    expect(await order("order-1")).toMatchObject({ isError: true });
    failing = false;
    await order("order-2");
    expect(ran).toEqual([1, 2, 1, 2, 2].map((n) => ({ name: "debit", n })));
  });
});

test("two connections of one host share what they record", async () => {
  const store = memoryStore();
  const runs: unknown[] = [];
  const build = () => {
    const server = v1.mcpServer();
    server.registerTool("tool", {}, () => text(runs.push("ran")));
    return server;
  };
  const [era] = ERAS;
  const results = [];
  for (let n = 0; n < 2; n += 1) {
    const { client } = await connectIn(era as Era, build);
    const caller = wrapClient(client, idempotency({ store }));
    results.push(await caller.call("tool", {}, { idempotencyKey: "order-1" }));
  }
  expect(results.map((result) => reportOf(result)?.duplicate)).toEqual([false, true]);
  expect(runs).toHaveLength(1);
});
