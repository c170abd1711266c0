import { McpTxError, type Middleware, ToolError } from "@mcp-tx/core";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { createHttpHandler } from "./create-handler.js";
import { JSON_HEADERS, post, read, type SceneOptions, scene } from "./front.fixture.js";
import { KINDS } from "./problem-codes.js";

/** Nothing that an error says of the inside may be in an answer: texts, paths, stacks, data, causes. */

const SECRET = "s3cr3t";
const SEARCH = { tool: "search", arguments: { query: "tides" } };
const CODES = Object.keys(KINDS);

function withMembers(error: object, members: object): object {
  return Object.assign(error, members);
}

/** Values that somebody may throw, each with the mark wherever a text can be. */
const thrown: fc.Arbitrary<unknown> = fc.letrec((tie) => ({
  members: fc.record({
    data: fc.constantFrom(SECRET, { password: SECRET }, [SECRET]),
    code: fc.oneof(fc.constantFrom<string | number>(SECRET, -32603, -32001, 429), fc.constantFrom(...CODES)),
    path: fc.constant(`/srv/${SECRET}/app.ts`),
    retryAfterMs: fc.constantFrom<unknown>(SECRET, -1, 5, Number.NaN, Infinity),
    execution: fc.constant(SECRET),
    cause: fc.option(tie("value"), { nil: undefined, depthIdentifier: "cause" }),
  }),
  error: fc
    .tuple(fc.constantFrom(Error, TypeError, RangeError, AggregateError as unknown as ErrorConstructor), tie("members"))
    .map(([Kind, members]) => withMembers(new Kind(`${SECRET} at /srv/app.ts`), members as object)),
  ours: fc
    .tuple(fc.constantFrom(...CODES), fc.constantFrom("executed", "not-executed", "unknown"), tie("members"))
    .map(([code, execution, members]) => {
      const outcome = { status: "failure", execution, transient: true, retryAfterMs: 1500 } as const;
      const { cause, data } = members as { cause: unknown; data: unknown };
      return withMembers(
        new McpTxError(SECRET, code as never, { outcome: outcome as never, cause, captureStack: true }),
        {
          data,
        },
      );
    }),
  value: fc.oneof(
    { depthSize: "small" },
    tie("error"),
    tie("ours"),
    tie("members"),
    fc.constantFrom<unknown>(SECRET, undefined, null, 0, Symbol(SECRET), [SECRET]),
    fc.constant(new ToolError(SECRET, SECRET)),
    fc.constant({ message: SECRET, stack: SECRET, toString: () => SECRET, toJSON: () => SECRET }),
  ),
})).value;

async function expectNoSecret(options: SceneOptions, accept = "application/json"): Promise<void> {
  const { execute } = scene({ ...options, onError: () => undefined });
  const { status, headers, text } = await execute(SEARCH, { accept });
  expect(status).toBeGreaterThanOrEqual(accept === "application/json" ? 400 : 200);
  expect(text).not.toContain(SECRET);
  expect(text).not.toContain("/srv");
  expect(JSON.stringify([...headers])).not.toContain(SECRET);
}

const RUNS = { numRuns: 100 };

describe("whatever is thrown, an answer holds nothing of it", () => {
  test("by a tool", async () => {
    await fc.assert(
      fc.asyncProperty(thrown, (error) => expectNoSecret({ steps: [{ error }] })),
      RUNS,
    );
  });

  test("by a tool whose answer is streamed", async () => {
    await fc.assert(
      fc.asyncProperty(thrown, (error) => expectNoSecret({ steps: [{ error }] }, "text/event-stream")),
      RUNS,
    );
  });

  test("by a middleware, before or after the tool ran", async () => {
    const breaking =
      (error: unknown, runs: boolean): Middleware =>
      async (ctx, next) => {
        if (runs) await next(ctx);
        throw error;
      };
    await fc.assert(
      fc.asyncProperty(thrown, fc.boolean(), (error, runs) => expectNoSecret({ middleware: [breaking(error, runs)] })),
      RUNS,
    );
  });

  test("by authorize, the list of tools or a schema", async () => {
    const fail = (error: unknown) => (): never => {
      throw error;
    };
    await fc.assert(
      fc.asyncProperty(thrown, async (error) => {
        await expectNoSecret({ authorize: fail(error) });
        await expectNoSecret({ listTools: async () => fail(error)() });
        const input = { "~standard": { version: 1, vendor: "test", validate: fail(error) } } as const;
        await expectNoSecret({ tools: { search: { input } } });
      }),
      RUNS,
    );
  });

  test("by a connection, a health check or a caller of another making", async () => {
    await fc.assert(
      fc.asyncProperty(thrown, async (error) => {
        const callers = [
          () => Promise.reject(error),
          { call: () => Promise.reject(error), invoke: () => Promise.reject(error) },
        ];
        for (const caller of callers) {
          const handler = createHttpHandler(caller, {
            tools: ["search"],
            checks: { own: () => Promise.reject(error) },
          });
          const answers = [
            await handler.fetch(post(SEARCH)),
            await handler.fetch(new Request("http://localhost/health")),
          ];
          for (const answer of answers) {
            const { status, text } = await read(answer);
            expect(status).toBeGreaterThanOrEqual(400);
            expect(text).not.toContain(SECRET);
          }
        }
      }),
      RUNS,
    );
  });

  test("hostile values that break when they are looked at", async () => {
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    const traps = new Proxy(new Error(SECRET), {
      get: () => {
        throw new Error(SECRET);
      },
      has: () => {
        throw new Error(SECRET);
      },
    });
    for (const error of [proxy, traps, Object.create(null)]) {
      await expectNoSecret({ steps: [{ error }] });
      await expectNoSecret({ authorize: () => Promise.reject(error) });
    }
  });
});

test("onError hears what the answer keeps to itself, and breaks nothing by throwing", async () => {
  const heard: unknown[] = [];
  const error = new Error(SECRET);
  const { execute } = scene({
    steps: [{ error }],
    onError: (cause, info) => {
      heard.push(cause, info);
      throw new Error("observer");
    },
  });
  const { json } = await execute(SEARCH);
  expect(heard).toEqual([error, { requestId: json.requestId, route: "execute-tool", code: "tool_error" }]);
});

test("no text of a request becomes a header, and a line break in it changes nothing", async () => {
  const { handler } = scene({ tools: ["search"] });
  await fc.assert(
    fc.asyncProperty(fc.string({ unit: "binary" }), async (text) => {
      const mark = `${text}\r\nx-injected: 1`;
      for (const body of [{ tool: mark }, { ...SEARCH, [mark]: 1 }, { ...SEARCH, idempotencyKey: mark }]) {
        const answer = await handler.fetch(post(body));
        expect(answer.status).toBeGreaterThanOrEqual(400);
        expect([...answer.headers.keys()]).not.toContain("x-injected");
        const problem = (await answer.json()) as { type: string };
        expect(problem.type).toMatch(/^https:/);
      }
    }),
    RUNS,
  );
});

test("a query, a path or a header of a request is never repeated", async () => {
  const { handler } = scene();
  const request = new Request(`http://localhost/${SECRET}?${SECRET}=1`, {
    headers: { ...JSON_HEADERS, "x-a": SECRET },
  });
  expect(await (await handler.fetch(request)).text()).not.toContain(SECRET);
  const page = await handler.fetch(new Request(`http://localhost/tools?cursor=${SECRET}`));
  expect(page.status).toBe(400);
  expect(await page.text()).not.toContain(SECRET);
});
