import { beforeDispatch } from "./admit.js";
import type { CallContext, Handler, Middleware, Seat, ToolResult } from "./contract.js";

const Parts: unique symbol = Symbol.for("@mcp-tx/core.parts");
const Guarded: unique symbol = Symbol.for("@mcp-tx/core.guarded");

/** A middleware that is a group of others. */
interface Composite extends Middleware {
  readonly [Parts]: readonly Middleware[];
}

/** A middleware that applies another one to some calls. */
interface Conditional extends Middleware {
  readonly [Guarded]: { readonly applies: (ctx: CallContext) => boolean; readonly middleware: Middleware };
}

/** A handler that remembers what it was made of. */
interface Pipeline extends Handler {
  readonly [Parts]: { readonly middleware: readonly Middleware[]; readonly terminal: Handler };
}

function nameOf(middleware: Middleware): string {
  return middleware.name === "" ? "a middleware" : `middleware "${middleware.name}"`;
}

function kindOf(value: unknown): string {
  if (value === null) return "null";
  return Array.isArray(value) ? "an array" : typeof value;
}

/** Checks and flattens what the user gave: one middleware, or a list that may hold composed groups. */
export function flatten(middleware: Middleware | readonly Middleware[], owner: string): readonly Middleware[] {
  if (typeof middleware === "function") return partsOf(middleware);
  if (!Array.isArray(middleware)) {
    throw new TypeError(`${owner}: middleware must be a function or an array of functions, got ${kindOf(middleware)}`);
  }
  return middleware.flatMap((entry, index) => {
    if (typeof entry === "function") return partsOf(entry);
    throw new TypeError(
      `${owner}: middleware[${index}] must be a function (ctx, next) => Promise, got ${kindOf(entry)}`,
    );
  });
}

function partsOf(middleware: Middleware): readonly Middleware[] {
  return (middleware as Partial<Composite>)[Parts] ?? [middleware];
}

/** `next` of one layer: built once, and telling who called it without a context. */
function link(layer: Middleware, next: Handler, caller: Middleware | undefined): Handler {
  return (ctx) => (isMissing(ctx) ? missingContext(caller) : layer(ctx, next));
}

function isMissing(ctx: CallContext | null | undefined): boolean {
  return ctx === undefined || ctx === null;
}

function missingContext(caller: Middleware | undefined): Promise<never> {
  const who = caller === undefined ? "the pipeline was called" : `${nameOf(caller)} called next`;
  return Promise.reject(new TypeError(`${who} without a context; write next(ctx)`));
}

/** A terminal that first runs what a context carries for the last moment. */
function reached(terminal: Handler): Handler {
  return (ctx) =>
    ctx.innermost === undefined ? terminal(ctx) : ctx.innermost(beforeDispatch(ctx, ctx.admit, undefined), terminal);
}

/** Chains middlewares round a terminal, from the right: the first is the outermost. */
export function fold(middleware: readonly Middleware[], terminal: Handler): Handler {
  return chain(middleware, reached(terminal));
}

function chain(middleware: readonly Middleware[], last: Handler): Handler {
  const innermost = middleware.at(-1);
  let next: Handler = (ctx) => (isMissing(ctx) ? missingContext(innermost) : last(ctx));
  for (let index = middleware.length - 1; index >= 0; index -= 1) {
    next = link(middleware[index] as Middleware, next, middleware[index - 1]);
  }
  return next;
}

/**
 * Composes middlewares round a terminal, once: a call through the result builds no closure.
 *
 * @param middleware - outermost first
 * @param terminal - what finally runs the call; a pipeline again is fine
 * @throws TypeError naming what is no function
 */
export function pipeline(middleware: Middleware | readonly Middleware[], terminal: Handler): Handler {
  if (typeof terminal !== "function") {
    throw new TypeError(`pipeline: terminal must be a function (ctx) => Promise, got ${kindOf(terminal)}`);
  }
  const inner = (terminal as Partial<Pipeline>)[Parts];
  const layers = [...flatten(middleware, "pipeline"), ...(inner?.middleware ?? [])];
  const innermost = inner?.terminal ?? terminal;
  return Object.assign(fold(layers, innermost), { [Parts]: { middleware: layers, terminal: innermost } });
}

/** What a handler made by {@link pipeline} consists of; any other handler is a terminal. */
export function dismantle(handler: Handler): {
  readonly middleware: readonly Middleware[];
  readonly terminal: Handler;
} {
  return (handler as Partial<Pipeline>)[Parts] ?? { middleware: [], terminal: handler };
}

function unique<T>(items: readonly T[]): readonly T[] {
  return [...new Set(items)];
}

/** Packages a group of middlewares as one. `pipeline` takes it apart again, so that the group costs nothing. */
export function compose(middleware: readonly Middleware[]): Middleware {
  const parts = flatten(middleware, "compose");
  let bound: { readonly next: Handler; readonly handler: Handler } | undefined;
  function composed(ctx: CallContext, next: Handler): Promise<ToolResult> {
    if (bound?.next !== next) bound = { next, handler: chain(parts, next) };
    return bound.handler(ctx);
  }
  return Object.assign(composed, {
    [Parts]: parts,
    optionKeys: unique(parts.flatMap((part) => part.optionKeys ?? [])),
  });
}

/**
 * The middlewares that a caller made by `wrapClient` sends its calls through, outermost first; `undefined` for a caller of
 * another making, of which nothing is known.
 */
export function middlewareOf(caller: object): readonly Middleware[] | undefined {
  const parts: unknown = (caller as { readonly [Parts]?: unknown })[Parts];
  return Array.isArray(parts) ? parts : undefined;
}

/** How a caller says what {@link middlewareOf} tells. */
export function withParts(middleware: readonly Middleware[]): object {
  return { [Parts]: middleware };
}

/** Which tools: an exact name, several, a pattern, or a function. */
export type ToolMatch = string | readonly string[] | RegExp | ((ctx: CallContext) => boolean);

function matcher(match: ToolMatch): (ctx: CallContext) => boolean {
  if (typeof match === "function") return (ctx) => isTrue(match(ctx));
  if (typeof match === "string") return (ctx) => ctx.tool === match;
  if (match instanceof RegExp) {
    // Without g and y, whose state would make every second call miss.
    const pattern = new RegExp(match.source, match.flags.replace(/[gy]/g, ""));
    return (ctx) => pattern.test(ctx.tool);
  }
  if (Array.isArray(match) && match.every((name) => typeof name === "string")) {
    const names: ReadonlySet<string> = new Set(match);
    return (ctx) => names.has(ctx.tool);
  }
  throw new TypeError("when: match must be a tool name, an array of names, a RegExp or a function (ctx) => boolean");
}

/** An async function gives a promise, which would pass for true on every call. */
function isTrue(verdict: unknown): boolean {
  if (typeof verdict === "boolean") return verdict;
  throw new TypeError(`when: match must return true or false, got ${kindOf(verdict)}`);
}

/** Applies a middleware to the calls that match, and lets the others pass it by. */
export function when(match: ToolMatch, middleware: Middleware | readonly Middleware[]): Middleware {
  const applies = matcher(match);
  const parts = flatten(middleware, "when");
  const inner: Middleware = parts.length === 1 ? (parts[0] as Middleware) : compose(parts);
  function conditional(ctx: CallContext, next: Handler): Promise<ToolResult> {
    return applies(ctx) ? inner(ctx, next) : next(ctx);
  }
  const seat: Seat = inner.seat;
  Object.defineProperty(conditional, "name", { value: `when(${inner.name})` });
  const records = parts.find((part) => part.records !== undefined)?.records;
  return Object.assign(conditional, {
    [Guarded]: { applies, middleware: inner },
    optionKeys: inner.optionKeys,
    seat,
    records,
  });
}

/** Whether some middleware that this call will pass honours an option. */
export function claims(middleware: readonly Middleware[], key: string, ctx: CallContext): boolean {
  return middleware.some((layer) => {
    const conditional = (layer as Partial<Conditional>)[Guarded];
    if (conditional !== undefined) return conditional.applies(ctx) && claims(partsOf(conditional.middleware), key, ctx);
    return layer.optionKeys?.includes(key) === true;
  });
}
