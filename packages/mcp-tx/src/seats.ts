import { type Middleware, middlewareOf, type Seat } from "@mcp-tx/core";

/** The standard order, from the outside to the inside. */
const SEATS: readonly NonNullable<Seat>[] = [
  "call-telemetry",
  "monitor",
  "saga",
  "idempotency",
  "retry",
  "attempt-telemetry",
  "breaker",
  "rate-limit",
  "concurrency",
];

/** What two of the same do that follow one another. Where nothing is said, several make sense. */
const DOUBLED: { readonly [S in NonNullable<Seat>]?: string } = {
  "call-telemetry": "every call gets two spans",
  saga: "a call belongs to one saga",
  idempotency: "the inner one only finds records of the outer one's calls",
  retry: "their attempts multiply",
  "attempt-telemetry": "every attempt gets two spans",
};

function rankOf({ seat }: Middleware): number {
  // Without a seat it goes outside of everything, where it sees one call with its final outcome.
  return seat === undefined ? -1 : SEATS.indexOf(seat);
}

function nameOf({ name }: Middleware): string {
  return name === "" ? "a middleware" : `${name}()`;
}

/** `hedge` has the seat of `retry`, goes inside of it and does not repeat what failed: it is no second retry. */
function isSecond(middleware: Middleware): boolean {
  return middleware.seat !== "retry" || middleware.optionKeys?.includes("retry") === true;
}

/** Groups made by `compose` have no seat of their own: it is their parts that are placed. */
export function partsOf(middleware: Middleware | readonly Middleware[]): readonly Middleware[] {
  const list: readonly Middleware[] = typeof middleware === "function" ? [middleware] : middleware;
  return list.flatMap((entry) => middlewareOf(entry) ?? [entry]);
}

/** Puts every middleware in its seat. Those of one seat stay in the order in which they are given. */
export function seated(middleware: readonly Middleware[]): readonly Middleware[] {
  return middleware.toSorted((left, right) => rankOf(left) - rankOf(right));
}

/** Whether something given by the user takes a seat, so that nothing of ours need be there. */
export function takes(given: readonly Middleware[], seat: NonNullable<Seat>): boolean {
  return given.some((middleware) => middleware.seat === seat && isSecond(middleware));
}

/** Two in one seat of which the second cannot do any good: one sentence for each. */
export function doubledSeats(middleware: readonly Middleware[]): readonly string[] {
  const problems: string[] = [];
  const met = new Map<Seat, Middleware>();
  for (const layer of middleware) {
    const { seat } = layer;
    if (seat === undefined || !isSecond(layer)) continue;
    const first = met.get(seat);
    const harm = DOUBLED[seat];
    if (first !== undefined && harm !== undefined) {
      problems.push(`${nameOf(first)} and ${nameOf(layer)} both take the seat "${seat}": ${harm}. Keep one of them.`);
    }
    met.set(seat, layer);
  }
  return problems;
}

/** Those that stand inside of something that they belong outside of: one sentence for each. */
function misplaced(middleware: readonly Middleware[]): readonly string[] {
  const problems: string[] = [];
  let innermost: Middleware | undefined;
  for (const layer of middleware) {
    if (layer.seat === undefined) continue;
    if (innermost === undefined || rankOf(layer) >= rankOf(innermost)) innermost = layer;
    else {
      const where = `outside of ${nameOf(innermost)} (seat "${innermost.seat}")`;
      problems.push(`${nameOf(layer)} (seat "${layer.seat}") belongs ${where}.`);
    }
  }
  return problems;
}

/**
 * What is wrong with the order of some middleware, outermost first: one sentence for each mistake.
 *
 * @remarks
 * A middleware without a seat may be anywhere. Two in one seat are a mistake only where the second cannot do any good.
 */
export function orderProblems(middleware: Middleware | readonly Middleware[]): readonly string[] {
  const parts = partsOf(middleware);
  return [...doubledSeats(parts), ...misplaced(parts)];
}
