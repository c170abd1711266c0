import { type CallContext, type Middleware, pipeline, run } from "@mcp-tx/core";
import { scriptedTool, virtualTime } from "@mcp-tx/core/testing";
import { idempotency } from "@mcp-tx/idempotency";
import { rateLimit } from "@mcp-tx/rate-limit";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { OK, post, read, scene } from "./front.fixture.js";
import { principalOf, scopedKey } from "./principal.js";
import type { Authorization, HttpHandlerOptions } from "./types.js";

const SEARCH = { tool: "search", arguments: { query: "tides" } };
const byHeader: HttpHandlerOptions["authorize"] = (request) => request.headers.get("x-user") ?? undefined;

describe("authorize", () => {
  test.each<[string, unknown, number, string]>([
    ["nothing", undefined, 401, "unauthorized"],
    ["null", null, 401, "unauthorized"],
    ["false", false, 401, "unauthorized"],
    ["a 401", { status: 401 }, 401, "unauthorized"],
    ["a 403", { status: 403 }, 403, "forbidden"],
    ["true", true, 500, "internal_error"],
    ["an empty text", "", 500, "internal_error"],
    ["an empty principal", { principal: "" }, 500, "internal_error"],
    ["another status", { status: 200, principal: "ann" }, 500, "internal_error"],
    ["a number", 5, 500, "internal_error"],
    ["tools that are no list", { principal: "ann", tools: "search" }, 500, "internal_error"],
  ])("that gives %s: %3$i, nothing runs", async (_name, answer, status, code) => {
    for (const given of [answer, Promise.resolve(answer)]) {
      const { execute, tool } = scene({ authorize: () => given as Authorization });
      expect(await execute(SEARCH)).toMatchObject({ status, json: { code } });
      expect(tool.executions).toBe(0);
    }
  });

  test("that throws: 500 without a word of it", async () => {
    const { execute, tool, errors } = scene({
      authorize: () => {
        throw new Error("password hunter2");
      },
    });
    const answer = await execute(SEARCH);
    expect(answer).toMatchObject({ status: 500, json: { code: "internal_error" } });
    expect(answer.text).not.toContain("hunter2");
    expect(errors).toHaveLength(1);
    expect(tool.executions).toBe(0);
  });

  test("a challenge is the header of the 401, unless it could not be one", async () => {
    const challenge = (text: string) => scene({ authorize: () => ({ status: 401, challenge: text }) }).execute(SEARCH);
    expect((await challenge('Bearer realm="tools"')).headers.get("www-authenticate")).toBe('Bearer realm="tools"');
    expect((await challenge("Bearer\r\nx-injected: 1")).headers.get("www-authenticate")).toBe("Bearer");
  });

  test("is asked before the body is read", async () => {
    const { handler } = scene({ authorize: () => undefined });
    const request = post("no JSON");
    expect((await handler.fetch(request)).status).toBe(401);
    expect(request.bodyUsed).toBe(false);
  });

  test("that never answers is not waited for longer than it may take, nor than the client", async () => {
    const time = virtualTime();
    const { handler } = scene({
      authorize: () => new Promise(() => undefined),
      connectTimeoutMs: 50,
      runtime: time.runtime,
    });
    expect((await time.run(handler.fetch(post(SEARCH)))).status).toBe(500);
    expect(time.now()).toBe(50);
    const gone = new AbortController();
    const pending = handler.fetch(post(SEARCH, {}, { signal: gone.signal }));
    gone.abort();
    expect((await pending).status).toBe(499);
    expect(time.timers).toBe(0);
  });

  test("guards tools and descriptions, and knows which is asked for", async () => {
    const routes: string[] = [];
    const { get } = scene({
      authorize: (_request, { route }) => {
        routes.push(route);
        return { status: 403 };
      },
    });
    for (const path of ["/tools", "/openapi.json"]) expect((await get(path)).status).toBe(403);
    for (const path of ["/health", "/livez", "/readyz"]) expect((await get(path)).status).toBe(200);
    expect(routes).toEqual(["tools", "openapi"]);
  });

  test("may narrow what a principal sees and calls, never widen it", async () => {
    const { get, execute, tool } = scene({
      tools: ["search", "pay"],
      authorize: () => ({ principal: "ann", tools: ["search", "secret"] }),
    });
    expect((await get("/tools")).json.tools.map(({ name }: { name: string }) => name)).toEqual(["search"]);
    const { mapping } = (await get("/openapi.json")).json.paths["/execute-tool"].post.requestBody.content[
      "application/json"
    ].schema.discriminator;
    expect(Object.keys(mapping)).toEqual(["search"]);
    for (const name of ["pay", "secret"]) {
      expect(await execute({ tool: name })).toMatchObject({ status: 403, json: { code: "tool_not_allowed" } });
    }
    expect((await execute(SEARCH)).status).toBe(200);
    expect(tool.executions).toBe(1);
  });

  test("is not asked where the framework says who it is", async () => {
    const seen: unknown[] = [];
    const watch: Middleware = (ctx, next) => {
      seen.push(principalOf(ctx));
      return next(ctx);
    };
    const { handler } = scene({ authorize: () => undefined, middleware: [watch] });
    expect((await handler.fetch(post(SEARCH), { principal: "ann" })).status).toBe(200);
    expect((await handler.fetch(post(SEARCH), { principal: "" })).status).toBe(500);
    expect(seen).toEqual(["ann"]);
  });
});

describe("the principal", () => {
  test("reaches the pipeline, where limits are told apart by it", async () => {
    const limit = rateLimit({ rate: 0.001, burst: 1, onLimit: "reject", key: (ctx) => principalOf(ctx) ?? "" });
    const { execute } = scene({ authorize: byHeader, middleware: [limit] });
    const as = async (user: string) => (await execute(SEARCH, { "x-user": user })).status;
    expect([await as("ann"), await as("ann"), await as("bob")]).toEqual([200, 429, 200]);
  });

  test("is undefined for calls that came another way", async () => {
    let seen: unknown = "untouched";
    const watch = (ctx: CallContext, next: (ctx: CallContext) => Promise<object>) => {
      seen = principalOf(ctx);
      return next(ctx);
    };
    await run(pipeline(watch as Middleware, scriptedTool([{ result: OK }])), { tool: "x" });
    expect(seen).toBeUndefined();
  });

  test("keeps its idempotency keys to itself", async () => {
    let runs = 0;
    const { handler, tool } = scene({
      authorize: byHeader,
      middleware: [idempotency()],
      steps: [
        () => {
          runs += 1;
          return { content: [{ type: "text", text: `run ${runs}` }] };
        },
      ],
    });
    const as = async (user: string) => {
      const answer = await read(await handler.fetch(post(SEARCH, { "x-user": user, "idempotency-key": '"k"' })));
      return answer.json.result.content[0].text;
    };
    expect([await as("ann"), await as("bob"), await as("ann"), await as("bob")]).toEqual([
      "run 1",
      "run 2",
      "run 1",
      "run 2",
    ]);
    expect(tool.executions).toBe(2);
  });

  test("and key make one record key each, whatever they consist of, short enough for any store", async () => {
    const keys = fc.string({ unit: "grapheme-ascii", minLength: 1, maxLength: 255 });
    const principals = fc.option(
      fc.oneof(fc.string({ unit: "binary" }), fc.string({ minLength: 200, maxLength: 900 })),
      {
        nil: undefined,
      },
    );
    await fc.assert(
      fc.asyncProperty(principals, keys, principals, keys, async (first, firstKey, second, secondKey) => {
        const [one, other] = [await scopedKey(first, firstKey), await scopedKey(second, secondKey)];
        expect(one === other).toBe(first === second && firstKey === secondKey);
        expect(one.length).toBeLessThanOrEqual(1024);
      }),
    );
    expect(await scopedKey(undefined, "k")).not.toBe(await scopedKey("null", "k"));
    expect(await scopedKey("ann", "k")).not.toBe("k");
  });
});
