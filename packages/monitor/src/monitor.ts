import type { CallContext, Handler, Middleware, ToolResult } from "@mcp-tx/core";
import { type MonitorOptions, readSettings } from "./options.js";
import type { MonitorReport } from "./report.js";
import { Watch } from "./watch.js";

/** The middleware with its control. */
export interface Monitor extends Middleware {
  /** What the window holds now, as plain JSON. Alerts whose time is over resolve. */
  report(): MonitorReport;
}

/**
 * Watches how calls end: success rates, attempts, duplicates, waits and latencies of each tool over a sliding window, and an
 * alert for each tool that fails too often.
 *
 * @remarks
 * A call that completed is a success; one that failed (`isError` included), timed out or whose outcome is unknown is a failure.
 * What was cancelled is neither, and what was refused without anything having run is so only with `countRejected`. An alert
 * fires below `threshold` and resolves at `recoverAt`, or when its window has run empty: there is no timer, so that is noticed at
 * the next call of any tool or the next `report()`.
 *
 * @throws TypeError or RangeError at construction, naming the option
 */
export function monitor(options: MonitorOptions = {}): Monitor {
  const watch = new Watch(readSettings(options));

  function monitor(ctx: CallContext, next: Handler): Promise<ToolResult> {
    let running: Promise<ToolResult>;
    try {
      const passage = watch.begin(ctx);
      running = start(ctx, next);
      // The promise goes back as it is: the book is kept before whoever awaits it goes on.
      running.then(
        (result) => watch.end(passage, result, false),
        (error) => watch.end(passage, error, true),
      );
    } catch (error) {
      running = Promise.reject(error);
    }
    return running;
  }
  return Object.assign(monitor, { seat: "monitor", report: () => watch.report() } as const);
}

function start(ctx: CallContext, next: Handler): Promise<ToolResult> {
  try {
    return Promise.resolve(next(ctx));
  } catch (error) {
    return Promise.reject(error);
  }
}
