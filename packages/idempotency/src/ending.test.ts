import type { Attempt, Call, CallContext } from "@mcp-tx/core";
import { context } from "@mcp-tx/core/testing";
import { describe, expect, test } from "vitest";
import { Ending, pastOf } from "./ending.js";

type Sent = Partial<Pick<Attempt, "key" | "storeId" | "sentAtWall" | "outcome" | "handedOver">>;

function callWith(...attempts: readonly Sent[]): Call {
  const { call }: CallContext = context({ tool: "pay" });
  return Object.create(call, { attempts: { value: attempts.map((sent) => ({ handedOver: true, ...sent })) } });
}

describe("pastOf", () => {
  const covered: Sent = { key: "k", storeId: "s", sentAtWall: 20 };

  test("is covered by a store when every unresolved attempt went there under the key", () => {
    expect(pastOf(callWith(covered, { ...covered, sentAtWall: 10 }), "k", 15)).toEqual({
      key: "k",
      storeId: "s",
      sentAtWall: 10,
    });
  });

  const uncovered: Readonly<Record<string, Sent>> = {
    "another store": { ...covered, storeId: "t" },
    "no store": { ...covered, storeId: undefined },
    "another key": { ...covered, key: "l" },
  };
  for (const [name, attempt] of Object.entries(uncovered)) {
    test(`is not covered when one went to ${name}`, () => {
      expect(pastOf(callWith(covered, attempt), "k", 15).storeId).toBeUndefined();
      expect(pastOf(callWith(attempt, covered), "k", 15).storeId).toBeUndefined();
    });
  }

  test("leaves out what was not sent, what is resolved and what only found the key in progress", () => {
    const failure = { status: "failure", transient: false } as const;
    const others: readonly Sent[] = [
      { handedOver: false, storeId: "t" },
      { storeId: "t", outcome: { ...failure, execution: "executed" } },
      { storeId: "t", outcome: { ...failure, execution: "unknown", code: "idempotency_in_progress" } },
    ];
    expect(pastOf(callWith(...others, covered), "k", 15)).toEqual({ key: "k", storeId: "s", sentAtWall: 15 });
  });

  test("was sent when the run began where no attempt tells", () => {
    expect(pastOf(callWith(), "k", 15)).toEqual({ key: "k", storeId: undefined, sentAtWall: 15 });
  });
});

test("a shared failure does not settle another attempt of a call that comes again; a success does", () => {
  for (const [status, execution] of [
    ["failure", "unknown"],
    ["success", "executed"],
  ] as const) {
    const noted: object[] = [];
    const note = (patch: object) => noted.push(patch);
    // What an ending uses of a call that was sent through before and lost an attempt then.
    const call = { execution: "unknown", get: () => true, set: () => undefined, note } as unknown as Call;
    const text = JSON.stringify({ v: 1, result: {} });
    const outcome = { status, execution: "executed", transient: false } as const;
    const ending = new Ending(false, {}, { outcome, execution: "executed", text, epoch: 0 });
    ending.forParticipant(call, "pay", () => ({ key: "k", sentAtWall: 0 }));
    expect(Object.assign({}, ...noted)).toMatchObject({ execution, duplicate: true });
  }
});
