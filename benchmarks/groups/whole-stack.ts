import type { ToolResult } from "@mcp-tx/core";
import { type Line, type Link, openSite, type Site } from "../e2e/connect.js";
import { bare, peerStacks, standardStack } from "../e2e/stacks.js";
import type { Group, Task } from "../harness/group.js";

const RESULT: ToolResult = Object.freeze({ content: [] });
const STUB = "stub alone";

/** Opened when a group is first measured, not when the groups are listed. */
function lazily(sites: Set<Site>, line: Line, link: Link, taskOf: (site: Site) => Promise<Task>): Task {
  let task: Task | undefined;
  async function open(): Promise<unknown> {
    const site = await openSite(line, link);
    sites.add(site);
    task = await taskOf(site);
    return task();
  }
  return () => (task === undefined ? open() : task());
}

/** A real call in memory: bare, through the standard stack, and through the stacks built from peers. */
function inMemory(sites: Set<Site>, line: Line): Group {
  const stacks = [bare, standardStack, ...peerStacks()];
  const tasks = stacks.map(({ name, over }): [string, Task] => [
    name,
    lazily(sites, line, "in memory", async (site) => over(await site.connect())),
  ]);
  return {
    title: `stack: round a real call of SDK ${line} in memory`,
    measure: "time",
    contenders: Object.fromEntries(tasks),
    reference: bare.name,
    targets: stacks
      .filter((stack) => stack !== bare)
      .map(({ name }) => ({
        ours: name,
        peer: bare.name,
        // The target is for v2; v1's client does less itself, so that the same cost is a greater share of it.
        atMost: name === standardStack.name && line === "v2" ? 1.1 : undefined,
      })),
  };
}

/** What the stack takes by itself, round a client that answers at once, as a share of a real call's time. */
function ownCost(sites: Set<Site>, line: Line): Group {
  const client = { callTool: async () => RESULT };
  const names = { stdio: `${line} stdio call`, http: `${line} HTTP call` };
  const remote = (link: Link): Task => lazily(sites, line, link, async (site) => bare.over(await site.connect()));
  const share = (peer: string, atMost: number) =>
    ({ ours: standardStack.name, less: STUB, peer, kind: "share", atMost }) as const;
  return {
    title: `stack: own cost as a share of a call of SDK ${line}`,
    measure: "time",
    contenders: {
      [standardStack.name]: standardStack.over(client),
      [STUB]: bare.over(client),
      [names.stdio]: remote("stdio"),
      [names.http]: remote("HTTP"),
    },
    reference: standardStack.name,
    targets: [share(names.stdio, 0.01), share(names.http, 0.001)],
  };
}

export default (): readonly Group[] => {
  const sites = new Set<Site>();
  const close = async (): Promise<void> => {
    await Promise.all([...sites].map((site) => site.close()));
  };
  return [inMemory(sites, "v1"), inMemory(sites, "v2"), ownCost(sites, "v1"), { ...ownCost(sites, "v2"), close }];
};
