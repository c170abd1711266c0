import { type Middleware, type Peer, wrapClient } from "@mcp-tx/core";
import { expect, test } from "vitest";
import { LINES } from "./fixtures/lines.js";

test.each(LINES)(
  "$name: what the user says of the peer goes over what the client knows, and takes nothing away",
  async (line) => {
    const [near, far] = line.pair();
    const server = line.mcpServer("known");
    server.registerTool("tool", {}, () => ({ content: [] }));
    await server.connect(far);
    const client = line.client();
    await client.connect(near);
    const peers: Peer[] = [];
    const look: Middleware = (ctx, next) => {
      peers.push(ctx.call.peer);
      return next(ctx);
    };
    await wrapClient(client, [look]).call("tool");
    await wrapClient(client, [look], { peer: { authInfo: "me" } }).call("tool");
    await wrapClient(client, [look], { peer: { server: "mine" } }).call("tool");
    expect(peers.map(({ server: name, authInfo }) => [name, authInfo])).toEqual([
      ["known", undefined],
      ["known", "me"],
      ["mine", undefined],
    ]);
    await client.close();
  },
);
