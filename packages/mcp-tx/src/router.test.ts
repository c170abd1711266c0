import { McpTxError, reportOf, type ToolInfo, wrapClient } from "@mcp-tx/core";
import { describe, expect, test } from "vitest";
import { overallHealth } from "./health.js";
import type { Reliable } from "./reliable-types.js";
import { createRouter } from "./router.js";

interface Served extends Reliable {
  readonly called: string[];
  closes: number;
}

/** What `reliable` gives, with a client that notes what it is called with. */
function served(tools: readonly string[] | Error, onClose?: () => void): Served {
  const called: string[] = [];
  const client = wrapClient(
    {
      callTool: async ({ name }: { readonly name: string }) => {
        called.push(name);
        return { content: [{ type: "text", text: name }] };
      },
    },
    [],
  );
  const server: Served = {
    called,
    closes: 0,
    call: client.call,
    invoke: client.invoke,
    tools: async () => {
      if (tools instanceof Error) throw tools;
      return tools.map((name): ToolInfo => ({ name, description: `about ${name}` }));
    },
    health: () => overallHealth({ default: { status: "pass", connection: "connected", inFlight: 0, circuits: [] } }),
    close: async () => {
      server.closes += 1;
      onClose?.();
    },
    [Symbol.asyncDispose]: () => server.close(),
  };
  return server;
}

describe("names", () => {
  test("lead to the tool of a server", async () => {
    const [search, files] = [served([]), served([])];
    const router = createRouter({ search, files });
    expect(await router.invoke("search.query", { q: 1 })).toBe("query");
    const result = await router.call("files.read");
    expect(reportOf(result)).toMatchObject({ tool: "read", attempts: 1, status: "completed" });
    expect([search.called, files.called]).toEqual([["query"], ["read"]]);
  });

  test("end for the server at the first dot", async () => {
    const [search, dotted] = [served([]), served([])];
    const router = createRouter({ search, query: dotted });
    await router.call("search.query.deep");
    await router.call("query.search.query");
    expect([search.called, dotted.called]).toEqual([["query.deep"], ["search.query"]]);
  });

  test.each([
    ["nowhere.query", /there is no server "nowhere". Servers: search, files/],
    ["query", /there is no server "query"/],
    [".query", /there is no server ""/],
    ["__proto__.query", /there is no server "__proto__"/],
    ["search", /name it with its server, as in "search.tool"/],
    ["search.", /name it with its server/],
  ])("%s is refused with a report, and nothing is called", async (name, message) => {
    const [search, files] = [served([]), served([])];
    const router = createRouter({ search, files });
    const error = await router.call(name).catch((thrown: unknown) => thrown);
    expect(McpTxError.isInstance(error) && error.message).toMatch(message);
    expect(reportOf(error)).toMatchObject({ execution: "not-executed", status: "rejected", attempts: 0 });
    expect([search.called, files.called]).toEqual([[], []]);
  });

  test.each([
    [{ "a.b": served([]) }, /servers\["a.b"\] must not have a dot/],
    [{ "": served([]) }, /must not have an empty name/],
    [{}, /at least one server/],
    [undefined, /must be an object/],
    [{ a: {} }, /servers\["a"\] must be what reliable\(\) gives/],
  ])("of servers are checked (%#)", (servers, message) => {
    expect(() => createRouter(servers as never)).toThrow(message);
  });
});

describe("tools", () => {
  test("bear the names of their servers, and nothing else is lost", async () => {
    const router = createRouter({ search: served(["query", "query.deep"]), files: served(["read"]) });
    expect(await router.tools()).toEqual([
      { name: "search.query", description: "about query" },
      { name: "search.query.deep", description: "about query.deep" },
      { name: "files.read", description: "about read" },
    ]);
  });

  test("of a server that is down do not hide the others, and the health tells", async () => {
    const router = createRouter({ search: served(new Error("down")), files: served(["read"]) });
    expect(router.health().status).toBe("pass");
    expect((await router.tools()).map(({ name }) => name)).toEqual(["files.read"]);
    expect(router.health()).toMatchObject({
      status: "warn",
      servers: { search: { status: "warn" }, files: { status: "pass" } },
    });
  });

  test("of no server at all are a failure", async () => {
    await expect(createRouter({ a: served(new Error("only")) }).tools()).rejects.toThrow("only");
    const both = createRouter({ a: served(new Error("1")), b: served(new Error("2")) });
    await expect(both.tools()).rejects.toThrow("The tools of no server could be listed: a, b");
  });
});

test("closes every server, also when one of them cannot be closed", async () => {
  const stuck = served([], () => {
    throw new Error("stuck");
  });
  const other = served([]);
  const router = createRouter({ stuck, other });
  await expect(router.close()).rejects.toThrow("stuck");
  expect([stuck.closes, other.closes]).toEqual([1, 1]);
  await expect(router.close({ graceMs: Number.NaN })).rejects.toThrow("close: graceMs");
});
