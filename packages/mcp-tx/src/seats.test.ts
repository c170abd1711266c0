import { circuitBreaker } from "@mcp-tx/circuit-breaker";
import { compose, type Middleware, type Seat } from "@mcp-tx/core";
import { idempotency } from "@mcp-tx/idempotency";
import { monitor } from "@mcp-tx/monitor";
import { otel, otelAttempt } from "@mcp-tx/otel";
import { concurrencyLimit, rateLimit } from "@mcp-tx/rate-limit";
import { hedge, retry } from "@mcp-tx/retry";
import { saga } from "@mcp-tx/saga";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { orderProblems, partsOf, seated, takes } from "./seats.js";

const SEATS = [
  "call-telemetry",
  "monitor",
  "saga",
  "idempotency",
  "retry",
  "attempt-telemetry",
  "breaker",
  "rate-limit",
  "concurrency",
] as const satisfies readonly Seat[];

const names = (middleware: readonly Middleware[]): readonly string[] => middleware.map(({ name }) => name);

function inSeat(seat: Seat, name: string): Middleware {
  const middleware: Middleware = (ctx, next) => next(ctx);
  Object.defineProperty(middleware, "name", { value: name });
  return Object.assign(middleware, { seat });
}

/** One of each package. */
const all = (): readonly Middleware[] => [
  otel(),
  monitor(),
  saga(),
  idempotency(),
  retry(),
  otelAttempt(),
  circuitBreaker(),
  rateLimit({ rate: 1, burst: 1 }),
  concurrencyLimit({ max: 1 }),
];

describe("seated", () => {
  test("puts every package where the standard order has it, however they are given", () => {
    const expected = names(all());
    fc.assert(
      fc.property(fc.shuffledSubarray([...all()], { minLength: 9 }), (given) => {
        expect(names(seated(given))).toEqual(expected);
      }),
    );
  });

  test("keeps those of one seat in the order in which they come, and puts what has none outside of all", () => {
    const layers = SEATS.flatMap((seat) => [inSeat(seat, `${seat} 1`), inSeat(seat, `${seat} 2`)]);
    const own = [inSeat(undefined, "own 1"), inSeat(undefined, "own 2")];
    fc.assert(
      fc.property(fc.shuffledSubarray([...layers, ...own], { minLength: 20 }), (given) => {
        const placed = seated(given);
        expect(placed).toHaveLength(20);
        expect(placed.slice(0, 2)).toEqual(given.filter(({ seat }) => seat === undefined));
        for (const seat of SEATS) {
          const of = (list: readonly Middleware[]) => list.filter((layer) => layer.seat === seat);
          expect(of(placed)).toEqual(of(given));
        }
        expect(orderProblems(placed.filter((layer) => !layer.name.endsWith(" 2")))).toEqual([]);
      }),
    );
  });

  test("places the parts of a group, not the group", () => {
    const parts = partsOf([compose([circuitBreaker(), monitor()]), retry()]);
    expect(names(seated(parts))).toEqual(["monitor", "retry", "circuitBreaker"]);
    expect(names(partsOf(retry()))).toEqual(["retry"]);
  });
});

describe("orderProblems", () => {
  test("has nothing to say about the standard order", () => {
    expect(orderProblems(all())).toEqual([]);
    expect(orderProblems(retry())).toEqual([]);
  });

  test("names two that stand the wrong way round", () => {
    expect(orderProblems([retry(), idempotency()])).toEqual([
      'idempotency() (seat "idempotency") belongs outside of retry() (seat "retry").',
    ]);
    expect(orderProblems(compose([circuitBreaker(), otel(), retry()]))).toHaveLength(2);
  });

  test.each([
    [() => retry(), "their attempts multiply"],
    [() => idempotency(), "the inner one only finds records of the outer one's calls"],
    [() => saga(), "a call belongs to one saga"],
    [() => otel(), "every call gets two spans"],
    [() => otelAttempt(), "every attempt gets two spans"],
  ])("names two of %s", (make, why) => {
    const [problem, ...others] = orderProblems([make(), make()]);
    expect(problem).toContain(why);
    expect(others).toEqual([]);
  });

  test("lets several limits, breakers and monitors be, and a hedge inside of a retry", () => {
    const limits = [rateLimit({ rate: 1, burst: 1 }), rateLimit({ rate: 2, burst: 1 }), concurrencyLimit({ max: 1 })];
    const layers = [
      monitor(),
      monitor(),
      retry(),
      hedge({ delayMs: 1 }),
      circuitBreaker(),
      circuitBreaker(),
      ...limits,
    ];
    expect(orderProblems(layers)).toEqual([]);
  });
});

test("a hedge does not take the place of a retry, another retry does", () => {
  expect(takes([hedge({ delayMs: 1 })], "retry")).toBe(false);
  expect(takes([retry()], "retry")).toBe(true);
  expect(takes([retry()], "idempotency")).toBe(false);
});
