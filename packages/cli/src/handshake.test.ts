import { expect, test } from "vitest";
import { type Greeter, Handshake } from "./handshake.js";
import type { Bag, Message } from "./proxy-messages.js";

interface Scene {
  readonly handshake: Handshake;
  readonly greeter: Greeter;
  /** What a new server was told, in order. */
  readonly told: unknown[];
}

const RESULT = { protocolVersion: "2025-06-18", capabilities: { tools: { listChanged: true }, prompts: {} } };

function scene(answers: Readonly<Record<string, unknown>> = { initialize: RESULT }): Scene {
  const handshake = new Handshake();
  const told: unknown[] = [];
  const greeter: Greeter = {
    request(method, params) {
      told.push([method, params]);
      return method in answers ? Promise.resolve(answers[method]) : Promise.reject(new Error("no"));
    },
    async notify(method) {
      told.push([method]);
    },
    negotiated: (version) => told.push(version),
  };
  return { handshake, greeter, told };
}

let lastId = 0;
/** A request of the host and its answer. */
function exchange(handshake: Handshake, method: string, params: Bag, answer: Partial<Message>): void {
  lastId += 1;
  handshake.noteRequest({ id: lastId, method, params });
  handshake.noteAnswer({ id: lastId, ...answer });
}

const HELLO = { clientInfo: { name: "h" } };

function begin(handshake: Handshake): void {
  exchange(handshake, "initialize", HELLO, { result: RESULT });
  handshake.noteFromHost({ method: "notifications/initialized" });
}

test("is not under way before a server has answered", () => {
  const { handshake } = scene();
  expect(handshake.isUnderWay).toBe(false);
  exchange(handshake, "initialize", HELLO, { error: { code: -1, message: "no" } });
  expect(handshake.isUnderWay).toBe(false);
  begin(handshake);
  expect(handshake.isUnderWay).toBe(true);
});

test("does not say initialized before the host has", async () => {
  const { handshake, greeter, told } = scene();
  exchange(handshake, "initialize", HELLO, { result: RESULT });
  expect(await handshake.replay(greeter)).toEqual([]);
  expect(told).toEqual([["initialize", HELLO], "2025-06-18"]);
});

test("repeats the last log level and the subscriptions that were granted, and no others", async () => {
  const { handshake, greeter, told } = scene();
  begin(handshake);
  exchange(handshake, "logging/setLevel", { level: "info" }, { result: {} });
  exchange(handshake, "logging/setLevel", { level: "error" }, { result: {} });
  exchange(handshake, "logging/setLevel", { level: "nonsense" }, { error: { code: -1 } });
  exchange(handshake, "resources/subscribe", { uri: "a:1" }, { result: {} });
  exchange(handshake, "resources/subscribe", { uri: "a:2" }, { error: { code: -1 } });
  exchange(handshake, "resources/subscribe", { uri: "a:3" }, { result: {} });
  exchange(handshake, "resources/unsubscribe", { uri: "a:3" }, { result: {} });
  // Neither can be repeated with this server: the session goes on all the same.
  const heard = await handshake.replay(greeter);
  expect(told.slice(2)).toEqual([
    ["notifications/initialized"],
    ["logging/setLevel", { level: "error" }],
    ["resources/subscribe", { uri: "a:1" }],
  ]);
  expect(heard.map(({ method }) => method)).toEqual([
    "notifications/tools/list_changed",
    "notifications/resources/updated",
  ]);
});

test("forgets what was said in a session that the host has begun anew", async () => {
  const { handshake, greeter, told } = scene();
  begin(handshake);
  exchange(handshake, "logging/setLevel", { level: "info" }, { result: {} });
  begin(handshake);
  await handshake.replay(greeter);
  expect(told.slice(2)).toEqual([["notifications/initialized"]]);
});

test("does not go on with a server that speaks another protocol version", async () => {
  const { handshake, greeter } = scene({ initialize: { ...RESULT, protocolVersion: "2099-01-01" } });
  begin(handshake);
  await expect(handshake.replay(greeter)).rejects.toThrow("the server now speaks protocol 2099-01-01");
});
