/** Shows that the demo notices when something is not as claimed: plays scenes that are wrong. The argument picks them. */

import { type Caller, wrapClient } from "@mcp-tx/core";
import { retry } from "@mcp-tx/retry";
import { play } from "./play.js";
import type { Expected, Scene, Seen } from "./scene.js";
import type { Stage } from "./stage.js";

const REPORT = { status: "completed", execution: "executed", attempts: 1, ack: true } as const;
const RIGHT: Expected = { trail: ["success"], answer: "ordered", report: REPORT, executions: 1 };

/** Wrong claims, each in one point. */
const WRONG_CLAIMS: readonly Expected[] = [
  { ...RIGHT, trail: ["attempt_timeout", 50, "success"] },
  { ...RIGHT, answer: "TypeError" },
  { ...RIGHT, report: undefined },
  { ...RIGHT, report: { ...REPORT, status: "unknown" } },
  { ...RIGHT, report: { ...REPORT, execution: "unknown" } },
  { ...RIGHT, report: { ...REPORT, attempts: 2 } },
  { ...RIGHT, report: { ...REPORT, ack: false } },
  { ...RIGHT, retryAfterMs: 5 },
  { ...RIGHT, executions: 2 },
  { ...RIGHT, withinMs: 0 },
];

/** A call that cannot have been like that, whatever is claimed. */
function impossible(seen: Seen): readonly Seen[] {
  const { report } = seen;
  if (report === undefined) throw new Error("The call has no report.");
  return [
    { ...seen, report: { ...report, duplicate: true } },
    { ...seen, report: { ...report, waitedMs: 5000 } },
  ];
}

async function order(stage: Stage): Promise<Seen> {
  const client: Caller = wrapClient(await stage.client("billing"), [retry()], { onEvent: stage.onEvent });
  return stage.watch("order({ job })", () => client.call("order", { job: stage.job }));
}

function scene(title: string, act: Scene["play"]): Scene {
  return { title, about: "Part of the self-check.", lines: ["SDK v2"], play: act };
}

const right = scene("right", async (stage) => stage.expect(await order(stage), RIGHT));

const wrong = scene("wrong", async (stage) => {
  const seen = await order(stage);
  for (const claim of WRONG_CLAIMS) stage.expect(seen, claim);
  for (const twisted of impossible(seen)) stage.expect(twisted, RIGHT);
});

const breaksOff = scene("breaks off", () => Promise.reject(new Error("no stage")));
const silent = scene("claims nothing", () => Promise.resolve());

const programs: Readonly<Record<string, readonly Scene[]>> = {
  right: [right],
  wrong: [wrong, right],
  "breaks-off": [breaksOff, right],
  silent: [silent, right],
  empty: [],
};

const program = programs[process.argv[2] ?? ""];
if (program === undefined) throw new Error(`usage: self-check.ts ${Object.keys(programs).join(" | ")}`);
process.exitCode = await play(program);
