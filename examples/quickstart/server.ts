/**
 * A billing server whose tools fail the way real ones do. It is an ordinary MCP server over stdio; its first argument is the
 * file in which it books every execution, so that the demo can compare what a client believes with what really happened.
 *
 * With `--limited` it puts a pipeline of its own round its tools: every job is refused once before it may run.
 */

import { setTimeout as sleep } from "node:timers/promises";
import { type Middleware, RateLimitError, wrapServer } from "@mcp-tx/core";
import { McpServer } from "@modelcontextprotocol/server";
import { serveStdio } from "@modelcontextprotocol/server/stdio";
import { z } from "zod";
import { Ledger } from "./ledger.js";
import { ASK_AGAIN_MS, COME_BACK_TOMORROW_MS, SLOW_MS } from "./timing.js";

const [file, mode] = process.argv.slice(2);
if (file === undefined) throw new Error("usage: server.ts <ledger file> [--limited]");
const ledger = new Ledger(file);
const inputSchema = z.object({ job: z.string() });

function say(text: string): { content: { type: "text"; text: string }[] } {
  return { content: [{ type: "text", text }] };
}

/** Books the start of an execution and tells which one of this job it is. */
function begin(job: string): number {
  ledger.write(job, "began");
  return ledger.executions(job);
}

function billingServer(): McpServer {
  const server = new McpServer({ name: "billing", version: "1.0.0" });
  // Like many servers, it does not let a client that lost patience stop it: it goes on, and answers late.
  server.server.setNotificationHandler("notifications/cancelled", () => {});

  // Slow while its cache is cold: answers after the attempt timeout the first time, at once from then on.
  server.registerTool("report", { inputSchema, annotations: { readOnlyHint: true } }, async ({ job }) => {
    if (begin(job) === 1) await sleep(SLOW_MS);
    return say("12 invoices");
  });

  // Throttled: says twice, in a form that programs can read, when it wants to be asked again.
  server.registerTool("quote", { inputSchema }, async ({ job }) => {
    if (begin(job) > 2) return say("99.50 EUR");
    return { ...say("Too many requests."), isError: true, _meta: { retryAfterMs: ASK_AGAIN_MS } };
  });

  // Dies mid-call: the card is charged, the answer never leaves.
  server.registerTool("charge", { inputSchema }, async ({ job }) => {
    begin(job);
    ledger.write(job, "done");
    process.exit(1);
  });

  // Answers late, every time: the money has moved by then.
  server.registerTool("transfer", { inputSchema }, async ({ job }) => {
    begin(job);
    await sleep(SLOW_MS);
    ledger.write(job, "done");
    return say("transferred");
  });

  // Throws.
  server.registerTool("refund", { inputSchema }, async ({ job }) => {
    begin(job);
    throw new Error("Nothing to refund.");
  });

  // Works.
  server.registerTool("order", { inputSchema }, async ({ job }) => {
    begin(job);
    ledger.write(job, "done");
    return say("ordered");
  });

  return server;
}

/** A middleware of one's own: lets a job pass at its second try, and asks those who want a quote to come back tomorrow. */
function admission(): Middleware {
  const seen = new Set<unknown>();
  return async function admission(ctx, next) {
    if (ctx.tool === "quote") throw new RateLimitError(ctx.tool, { retryAfterMs: COME_BACK_TOMORROW_MS });
    if (seen.has(ctx.args["job"])) return next(ctx);
    seen.add(ctx.args["job"]);
    throw new RateLimitError(ctx.tool, { retryAfterMs: ASK_AGAIN_MS });
  };
}

serveStdio(() => (mode === "--limited" ? wrapServer(billingServer(), [admission()]) : billingServer()));
// Whoever started this server is gone: nobody is left to answer.
process.stdin.once("close", () => process.exit(0));
