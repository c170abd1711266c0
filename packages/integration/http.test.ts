import { describe } from "vitest";
import { HOSTS, NODE_V2 } from "./fixtures/http-app-hosts.js";
import { callsThatMeet } from "./fixtures/http-suite-calls.js";
import { endlessBodies, hostileRequests } from "./fixtures/http-suite-hostile.js";
import { statusTable } from "./fixtures/http-suite-statuses.js";

/** One suite over a real socket for every framework, against a real MCP server. NestJS and Next have files of their own. */

describe.each([...HOSTS, NODE_V2])("$on", (host) => {
  describe("answers", () => statusTable(host));
  describe("calls that meet", () => callsThatMeet(host));
  describe("hostile requests", () => hostileRequests(host));
});

describe.each(HOSTS.filter(({ parses }) => parses !== true))("$on", (host) => endlessBodies(host));
