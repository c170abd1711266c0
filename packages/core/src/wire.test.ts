import fc from "fast-check";
import { expect, test } from "vitest";
import {
  ANNOUNCEMENT_KEY,
  CALL_META_KEY,
  hintMs,
  RECEIPT_KEY,
  readAnnouncement,
  readCallMeta,
  readReceipt,
} from "./wire.js";

const receipt = {
  requestId: "r",
  ack: true,
  execution: "executed",
  duplicate: true,
  code: "tool_error",
  retryAfterMs: 5,
};
const callMeta = { requestId: "r", idempotencyKey: "k", transactionId: "t", attempt: 2, epoch: 1, expectStore: "s" };
const announcement = { version: 1, idempotency: { storeId: "s", windowMs: 1000, durable: true } };

/** What a stranger may send: anything that JSON can carry, prototype-ish keys included. */
const hostile = fc
  .oneof(
    fc.jsonValue(),
    fc.dictionary(
      fc.constantFrom(
        "__proto__",
        "constructor",
        "prototype",
        "toString",
        "requestId",
        "execution",
        "version",
        "idempotency",
      ),
      fc.jsonValue(),
    ),
  )
  .map((value) => JSON.parse(JSON.stringify(value)) as unknown);

const under = (key: string, value: unknown): unknown => JSON.parse(JSON.stringify({ [key]: value }));

test("reads what it is meant to read", () => {
  expect(readReceipt({ [RECEIPT_KEY]: receipt })).toEqual(receipt);
  expect(readCallMeta({ [CALL_META_KEY]: callMeta })).toEqual(callMeta);
  expect(readAnnouncement({ experimental: { [ANNOUNCEMENT_KEY]: announcement } })).toEqual(announcement);
  expect(readAnnouncement({ extensions: { [ANNOUNCEMENT_KEY]: announcement } })).toEqual(announcement);
});

test("never throws on what strangers send, and gives well-formed values only", () => {
  fc.assert(
    fc.property(hostile, (value) => {
      for (const carrier of [value, under(RECEIPT_KEY, value), under(CALL_META_KEY, value)]) {
        const read = readReceipt(carrier);
        if (read !== undefined) expect(["executed", "not-executed", "unknown"]).toContain(read.execution);
        const meta = readCallMeta(carrier);
        if (meta !== undefined)
          expect([typeof meta.idempotencyKey, typeof meta.requestId]).toEqual(["string", "string"]);
      }
      for (const capabilities of [value, { experimental: value }, { experimental: under(ANNOUNCEMENT_KEY, value) }]) {
        const read = readAnnouncement(capabilities);
        if (read !== undefined) expect(read.version).toBe(1);
      }
      expect(({} as Record<string, unknown>).polluted).toBeUndefined();
    }),
  );
});

test("takes nothing from a prototype that the message tries to set", () => {
  const carrier: unknown = JSON.parse(`{"__proto__": {"${RECEIPT_KEY}": ${JSON.stringify(receipt)}}}`);
  expect(readReceipt(carrier)).toBeUndefined();
  const inner: unknown = JSON.parse(`{"${RECEIPT_KEY}": {"__proto__": ${JSON.stringify(receipt)}}}`);
  expect(readReceipt(inner)).toBeUndefined();
});

test("counts a receipt without a known execution as none", () => {
  for (const execution of [undefined, null, true, "EXECUTED", "maybe", "toString", ["executed"]]) {
    expect(readReceipt({ [RECEIPT_KEY]: { ...receipt, execution } })).toBeUndefined();
  }
});

test("drops from a receipt what is malformed and keeps the rest", () => {
  const messy = { execution: "unknown", requestId: 5, ack: "yes", duplicate: 1, code: "constructor", retryAfterMs: -1 };
  expect(readReceipt({ [RECEIPT_KEY]: messy })).toEqual({
    requestId: "",
    ack: false,
    execution: "unknown",
    duplicate: false,
    code: undefined,
    retryAfterMs: undefined,
  });
});

test("counts a call entry without request id and key as none", () => {
  const broken = [
    { requestId: 1 },
    { idempotencyKey: undefined },
    { idempotencyKey: {} },
    { idempotencyKey: "" },
    { requestId: "" },
  ];
  for (const change of broken) expect(readCallMeta({ [CALL_META_KEY]: { ...callMeta, ...change } })).toBeUndefined();
  for (const entry of [null, "k", 5, []]) expect(readCallMeta({ [CALL_META_KEY]: entry })).toBeUndefined();
});

test("reads nonsense in a call entry as if it were absent", () => {
  for (const attempt of [0, -3, 1.5, "2", null])
    expect(readCallMeta({ [CALL_META_KEY]: { ...callMeta, attempt } })?.attempt).toBe(1);
  for (const epoch of [-1, 0.5, "1", null])
    expect(readCallMeta({ [CALL_META_KEY]: { ...callMeta, epoch } })?.epoch).toBe(0);
  const read = readCallMeta({ [CALL_META_KEY]: { ...callMeta, transactionId: "", expectStore: 7 } });
  expect([read?.transactionId, read?.expectStore]).toEqual([undefined, undefined]);
});

test("takes a server of another version, or without a usable store, for one without", () => {
  const of = (entry: unknown) => readAnnouncement({ experimental: { [ANNOUNCEMENT_KEY]: entry } });
  expect(of({ ...announcement, version: 2 })).toBeUndefined();
  expect(of({ ...announcement, version: "1" })).toBeUndefined();
  for (const store of [
    null,
    [],
    {},
    { storeId: "", windowMs: 1 },
    { storeId: 1, windowMs: 1 },
    { storeId: "s", windowMs: -1 },
    { storeId: "s", windowMs: "1" },
  ]) {
    expect(of({ version: 1, idempotency: store })).toEqual({ version: 1 });
  }
  expect(of({ version: 1, idempotency: { storeId: "s", windowMs: 0, durable: "yes" } })?.idempotency?.durable).toBe(
    false,
  );
});

test("takes finite numbers from 0 for durations, and nothing else", () => {
  expect([0, 1.5, -0].map(hintMs)).toEqual([0, 1.5, -0]);
  expect([-1, Number.NaN, Infinity, "5", null, undefined, {}].map(hintMs)).toEqual(new Array(7).fill(undefined));
});
