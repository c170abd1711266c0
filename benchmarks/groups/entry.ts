import { wrapTool } from "@mcp-tx/core";
import type { Group, Task } from "../harness/group.js";
import { cockatiels } from "../harness/peers.js";

interface Place {
  readonly city: string;
}

const PLACE: Place = Object.freeze({ city: "Kyoto" });
const CONTENT = Object.freeze([Object.freeze({ type: "text", text: "sunny" })]);

/** cockatiel's `noop` is its entry and nothing else: it keeps no context, no report and no record of the attempt. */
function entries(): Readonly<Record<string, Task>> {
  const tasks = cockatiels.map(({ name, api }): [string, Task] => {
    const tool = async (_place: Place) => ({ content: CONTENT });
    const execute = () => tool(PLACE);
    return [`${name} noop`, () => api.noop.execute(execute)];
  });
  return Object.fromEntries(tasks);
}

/** A tool gives a new result each time, as real ones do; each contender has its own copy of the function. */
export default (): readonly Group[] => {
  const wrapped = wrapTool("weather", async (_place: Place) => ({ content: CONTENT }), []);
  const bare = async (_place: Place) => ({ content: CONTENT });
  const peers = entries();

  const wrappedValue = wrapTool("weather", async (_place: Place) => ({ degrees: 21 }), []);
  const bareValue = async (_place: Place) => ({ degrees: 21 });

  const countedTool = wrapTool("weather", async (_place: Place) => ({ content: CONTENT }), []);
  const countedBare = async (_place: Place) => ({ content: CONTENT });
  return [
    {
      title: "entry: context, call and report (wrapTool, no middleware)",
      measure: "time",
      contenders: {
        "bare await fn()": () => bare(PLACE),
        wrapTool: () => wrapped(PLACE),
        ...peers,
      },
      reference: "bare await fn()",
      targets: [
        { ours: "wrapTool", peer: "bare await fn()", atMost: 4 },
        ...Object.keys(peers).map((peer) => ({ ours: "wrapTool", peer, atMost: 1.2 })),
      ],
    },
    {
      title: "entry: the same for a function that returns a plain value",
      measure: "time",
      contenders: {
        "bare await fn()": () => bareValue(PLACE),
        wrapTool: () => wrappedValue(PLACE),
      },
      reference: "bare await fn()",
      targets: [{ ours: "wrapTool", peer: "bare await fn()" }],
    },
    {
      title: "entry: bytes per call",
      measure: "bytes",
      contenders: {
        "bare await fn()": () => countedBare(PLACE),
        wrapTool: () => countedTool(PLACE),
      },
      reference: "bare await fn()",
      targets: [{ ours: "wrapTool", peer: "bare await fn()", kind: "difference" }],
    },
  ];
};
