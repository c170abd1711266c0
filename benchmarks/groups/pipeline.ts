import { type CallContext, type Handler, type Middleware, pipeline, type ToolResult } from "@mcp-tx/core";
import koaCompose from "koa-compose";
import { readyContext } from "../harness/context.js";
import { byNode, type Group } from "../harness/group.js";

const RESULT: ToolResult = Object.freeze({ content: [] });
const LAYERS = 7;

/** Seven middlewares, as seven functions. */
function seven<T>(make: () => T): T[] {
  return Array.from({ length: LAYERS }, make);
}

/** Each contender ends in a terminal of its own, so that none shares type feedback with another. */
function terminals(): { readonly floor: Handler; readonly ours: Handler; readonly koa: Handler } {
  return { floor: async () => RESULT, ours: async () => RESULT, koa: async () => RESULT };
}

/** The floor: what one would write if there were no library. Nothing is looked up, nothing is built per call. */
function handNested(terminal: Handler): Handler {
  const seventh: Handler = async (ctx) => await terminal(ctx);
  const sixth: Handler = async (ctx) => await seventh(ctx);
  const fifth: Handler = async (ctx) => await sixth(ctx);
  const fourth: Handler = async (ctx) => await fifth(ctx);
  const third: Handler = async (ctx) => await fourth(ctx);
  const second: Handler = async (ctx) => await third(ctx);
  return async (ctx) => await second(ctx);
}

/**
 * koa-compose: the returned function is built once, as Koa does. Its `next` takes no context and may be called once only; it
 * checks that on every call, which ours has no need for because `next` may run many times.
 */
function koa(middleware: readonly koaCompose.Middleware<CallContext>[], terminal: Handler): Handler {
  const composed = koaCompose([...middleware]);
  return (ctx) => composed(ctx, () => terminal(ctx)) as unknown as Promise<ToolResult>;
}

function asyncLayers(): { readonly floor: Handler; readonly ours: Handler; readonly koa: Handler } {
  const terminal = terminals();
  const ours = seven<Middleware>(() => async (ctx, next) => await next(ctx));
  const koas = seven<koaCompose.Middleware<CallContext>>(() => async (_ctx, next) => await next());
  return {
    floor: handNested(terminal.floor),
    ours: pipeline(ours, terminal.ours),
    koa: koa(koas, terminal.koa),
  };
}

function syncLayers(): { readonly bare: Handler; readonly ours: Handler; readonly koa: Handler } {
  const terminal = terminals();
  const ours = seven<Middleware>(() => (ctx, next) => next(ctx));
  const koas = seven<koaCompose.Middleware<CallContext>>(() => (_ctx, next) => next());
  return { bare: terminal.floor, ours: pipeline(ours, terminal.ours), koa: koa(koas, terminal.koa) };
}

export default async (): Promise<readonly Group[]> => {
  const ctx = await readyContext();
  const timed = asyncLayers();
  const counted = asyncLayers();
  const sync = syncLayers();
  return [
    {
      title: "pipeline: 7 pass-through async middlewares",
      measure: "time",
      contenders: {
        "hand-nested": () => timed.floor(ctx),
        pipeline: () => timed.ours(ctx),
        "koa-compose": () => timed.koa(ctx),
      },
      reference: "hand-nested",
      targets: [
        { ours: "pipeline", peer: "hand-nested", atMost: 1.1 },
        { ours: "pipeline", peer: "koa-compose", atMost: 0.9 },
      ],
    },
    {
      title: "pipeline: 7 pass-through sync middlewares",
      measure: "time",
      contenders: {
        "bare await fn()": () => sync.bare(ctx),
        pipeline: () => sync.ours(ctx),
        "koa-compose": () => sync.koa(ctx),
      },
      reference: "bare await fn()",
      targets: [
        { ours: "pipeline", peer: "bare await fn()", atMost: byNode({ 20: 1.8, 24: 1.15 }) },
        { ours: "pipeline", peer: "koa-compose", atMost: 0.45 },
      ],
    },
    {
      title: "pipeline: bytes per call, 7 async layers",
      measure: "bytes",
      contenders: {
        "hand-nested": () => counted.floor(ctx),
        pipeline: () => counted.ours(ctx),
        "koa-compose": () => counted.koa(ctx),
      },
      reference: "hand-nested",
      targets: [
        { ours: "pipeline", peer: "hand-nested", atMost: 1.05 },
        { ours: "pipeline", peer: "koa-compose" },
      ],
    },
  ];
};
