import type { Caller, ToolInfo } from "@mcp-tx/core";
import { virtualTime } from "@mcp-tx/core/testing";
import { describe, expect, test } from "vitest";
import { createHttpHandler } from "./create-handler.js";
import { OK, post, read, scene, TOOLS } from "./front.fixture.js";

const SEARCH = { tool: "search", arguments: { query: "tides" } };

/** A list of tools that can change and fail, and how often it was asked for. */
function list(names: readonly string[]) {
  const state = { names, failing: false, reads: 0 };
  const listTools = async (): Promise<readonly ToolInfo[]> => {
    state.reads += 1;
    if (state.failing) throw new Error("down");
    return state.names.map((name) => ({ name }));
  };
  return { state, listTools };
}

describe("GET /tools", () => {
  test("describes the tools, without what servers say between themselves", async () => {
    const { json, status, headers } = await scene().get("/tools");
    expect(status).toBe(200);
    expect(headers.get("content-type")).toBe("application/json");
    const { _meta, ...pay } = TOOLS[1] ?? { name: "" };
    expect(json).toEqual({ tools: [TOOLS[0], pay, TOOLS[2]] });
  });

  test("tells those that may be called, and that are there", async () => {
    const { json } = await scene({ tools: ["pay", "absent"] }).get("/tools");
    expect(json.tools.map(({ name }: ToolInfo) => name)).toEqual(["pay"]);
  });

  test("comes in pages", async () => {
    const { listTools } = list(Array.from({ length: 250 }, (_, index) => `tool-${index}`));
    const { get } = scene({ listTools });
    const seen: string[] = [];
    let path = "/tools?limit=120";
    for (let pages = 1; pages <= 3; pages += 1) {
      const { json } = await get(path);
      seen.push(...json.tools.map(({ name }: ToolInfo) => name));
      expect("nextCursor" in json).toBe(pages < 3);
      path = `/tools?limit=120&cursor=${json.nextCursor}`;
    }
    expect(new Set(seen).size).toBe(250);
    expect((await get("/tools")).json.tools).toHaveLength(100);
  });

  test.each(["limit=0", "limit=1001", "limit=x", "limit=-1", "limit=1e2", "cursor=x", "cursor=-1", "limit="])(
    "%s: 400",
    async (query) => {
      const { status, json } = await scene().get(`/tools?${query}`);
      expect({ status, code: json.code }).toEqual({ status: 400, code: "bad_request" });
      expect(json.errors[0].pointer).toBe(`?${query.split("=")[0]}`);
    },
  );
});

describe("which tools may be called", () => {
  test("one that is not offered is 403, be it there or not: nobody learns which there are", async () => {
    const { execute, tool } = scene({ tools: ["search"] });
    const [there, absent] = [await execute({ tool: "secret" }), await execute({ tool: "absent" })];
    expect(there).toMatchObject({ status: 403, json: { code: "tool_not_allowed" } });
    const { requestId: _first, ...one } = there.json;
    const { requestId: _second, ...other } = absent.json;
    expect(one).toEqual(other);
    expect(tool.executions).toBe(0);
  });

  test("one that is offered and not there is 404", async () => {
    const { execute, tool } = scene({ tools: ["search", "absent"] });
    expect(await execute({ tool: "absent" })).toMatchObject({ status: 404, json: { code: "tool_not_found" } });
    expect(await scene().execute({ tool: "absent" })).toMatchObject({ status: 404 });
    expect(tool.executions).toBe(0);
  });

  test.each(["constructor", "__proto__", "toString", "hasOwnProperty"])("%s is no tool", async (name) => {
    expect((await scene({ tools: { search: {} } }).execute({ tool: name })).status).toBe(403);
    expect((await scene().execute({ tool: name })).status).toBe(404);
  });

  test("of a caller that cannot say which it has, those that are named are taken for there", async () => {
    const caller: Caller = { call: async () => OK, invoke: async () => undefined as never };
    const handler = createHttpHandler(caller, { tools: ["search"] });
    expect((await handler.fetch(post(SEARCH))).status).toBe(200);
    expect((await read(await handler.fetch(new Request("http://localhost/tools")))).json).toEqual({
      tools: [{ name: "search" }],
    });
  });

  test("a caller that turns out to be unable to say is a mistake of the server's", async () => {
    const errors: unknown[] = [];
    const caller: Caller = { call: async () => OK, invoke: async () => undefined as never };
    const handler = createHttpHandler(() => caller, { onError: (error) => errors.push(error) });
    expect(await read(await handler.fetch(post(SEARCH)))).toMatchObject({
      status: 500,
      json: { code: "internal_error" },
    });
    expect(String(errors[0])).toContain("listTools is required");
  });

  test("the caller's own list is used where it has one", async () => {
    const caller = {
      call: async () => OK,
      invoke: async () => undefined as never,
      tools: async () => [{ name: "own" }],
    };
    const { json } = await read(await createHttpHandler(caller).fetch(new Request("http://localhost/tools")));
    expect(json).toEqual({ tools: [{ name: "own" }] });
  });
});

describe("the list of tools", () => {
  test("is read once by calls that come together, and kept for toolsTtlMs", async () => {
    const time = virtualTime();
    const { state, listTools } = list(["search"]);
    const { execute } = scene({ listTools, runtime: time.runtime, toolsTtlMs: 5000 });
    await Promise.all(Array.from({ length: 20 }, () => execute(SEARCH)));
    expect(state.reads).toBe(1);
    await time.advance(4999);
    await execute(SEARCH);
    expect(state.reads).toBe(1);
    await time.advance(1);
    await execute(SEARCH);
    expect(state.reads).toBe(2);
  });

  test("is read anew for a tool that is not in it, but not for a flood of wrong names", async () => {
    const time = virtualTime();
    const { state, listTools } = list(["search"]);
    const { execute } = scene({ listTools, runtime: time.runtime });
    await execute(SEARCH);
    state.names = ["search", "new"];
    for (let asked = 0; asked < 50; asked += 1) expect((await execute({ tool: "new" })).status).toBe(404);
    expect(state.reads).toBe(1);
    await time.advance(1000);
    expect((await execute({ tool: "new" })).status).toBe(200);
    expect(state.reads).toBe(2);
  });

  test("that was read once is believed while it cannot be read", async () => {
    const time = virtualTime();
    const { state, listTools } = list(["search"]);
    const { execute } = scene({ listTools, runtime: time.runtime, toolsTtlMs: 10 });
    await execute(SEARCH);
    state.failing = true;
    await time.advance(60_000);
    expect((await execute(SEARCH)).status).toBe(200);
    expect(state.reads).toBe(2);
  });

  test("that is due is not waited for by a call of a tool that is known, and is read behind it", async () => {
    const time = virtualTime();
    const { listTools } = list(["search"]);
    let isHanging = false;
    let asked = 0;
    const hanging: typeof listTools = (...given) => {
      asked += 1;
      return isHanging ? new Promise<never>(() => undefined) : listTools(...given);
    };
    const { execute } = scene({
      listTools: hanging,
      runtime: time.runtime,
      toolsTtlMs: 10,
      connectTimeoutMs: 700,
    });
    await execute(SEARCH);
    isHanging = true;
    await time.advance(10);
    const now = time.now();
    expect((await execute(SEARCH)).status).toBe(200);
    expect([time.now() - now, asked]).toEqual([0, 2]);
    // What hung for too long is asked for again.
    await time.advance(700);
    isHanging = false;
    expect((await execute(SEARCH)).status).toBe(200);
    expect(asked).toBe(3);
  });

  test("that cannot be read at all is 502, nothing runs", async () => {
    const { state, listTools } = list([]);
    state.failing = true;
    const { execute, tool } = scene({ listTools });
    expect(await execute(SEARCH)).toMatchObject({
      status: 502,
      json: { code: "transport_error", execution: "not-executed" },
    });
    expect(tool.executions).toBe(0);
  });

  test.each([undefined, "text", { tools: [] }])("%o is no list", async (given) => {
    expect((await scene({ listTools: async () => given as never }).execute(SEARCH)).status).toBe(502);
  });

  test("may take longer than a timer can", async () => {
    expect((await scene({ connectTimeoutMs: 1e15 }).execute(SEARCH)).status).toBe(200);
  });

  test("is not waited for longer than connectTimeoutMs, nor for a client that has gone", async () => {
    const time = virtualTime();
    const listTools = () => new Promise<never>(() => undefined);
    const { handler, tool } = scene({ listTools, runtime: time.runtime, connectTimeoutMs: 700 });
    expect((await time.run(handler.fetch(post(SEARCH)))).status).toBe(502);
    expect(time.now()).toBe(700);
    const gone = new AbortController();
    const pending = handler.fetch(post(SEARCH, {}, { signal: gone.signal }));
    gone.abort();
    expect((await pending).status).toBe(499);
    expect(tool.executions).toBe(0);
  });
});

describe("the connection", () => {
  const caller: Caller = { call: async () => OK, invoke: async () => undefined as never };

  test("is made when the first request needs it, once", async () => {
    let connections = 0;
    const handler = createHttpHandler(
      async () => {
        connections += 1;
        return caller;
      },
      { tools: ["search"] },
    );
    await handler.fetch(new Request("http://localhost/health"));
    expect(connections).toBe(0);
    await Promise.all(Array.from({ length: 20 }, () => handler.fetch(post(SEARCH))));
    expect(connections).toBe(1);
    expect(await handler.caller()).toBe(caller);
    expect(connections).toBe(1);
  });

  test("that fails is 502, and tried again by the next request", async () => {
    let connections = 0;
    const connect = (): Caller => {
      connections += 1;
      if (connections === 1) throw new Error("refused");
      return caller;
    };
    const handler = createHttpHandler(connect, { tools: ["search"] });
    expect(await read(await handler.fetch(post(SEARCH)))).toMatchObject({
      status: 502,
      json: { code: "transport_error", execution: "not-executed" },
    });
    const health = await read(await handler.fetch(new Request("http://localhost/health")));
    expect(health).toMatchObject({ status: 503, json: { status: "fail" } });
    expect((await handler.fetch(post(SEARCH))).status).toBe(200);
    expect(connections).toBe(2);
    expect((await handler.fetch(new Request("http://localhost/health"))).status).toBe(200);
  });

  test("that takes too long is 502 for who waits, and there for who comes later", async () => {
    const time = virtualTime();
    let connected: (caller: Caller) => void = () => undefined;
    const connecting = new Promise<Caller>((resolve) => {
      connected = resolve;
    });
    const options = { tools: ["search"], runtime: time.runtime, connectTimeoutMs: 300 };
    const handler = createHttpHandler(() => connecting, options);
    expect((await time.run(handler.fetch(post(SEARCH)))).status).toBe(502);
    connected(caller);
    expect((await time.run(handler.fetch(post(SEARCH)))).status).toBe(200);
  });

  test("that gives something else is refused", async () => {
    const handler = createHttpHandler(() => ({}) as Caller, { tools: ["search"] });
    await expect(handler.caller()).rejects.toThrow(/caller must have a method call/);
    expect((await handler.fetch(post(SEARCH))).status).toBe(502);
  });
});
