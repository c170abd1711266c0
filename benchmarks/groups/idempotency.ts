import { createHash } from "node:crypto";
import { fingerprintOf } from "@mcp-tx/idempotency";
import canonicalize from "canonicalize";
import stableStringify from "safe-stable-stringify";
import type { Group, Task } from "../harness/group.js";

type Args = Readonly<Record<string, unknown>>;

/** 228 bytes of JSON: an order, as a tool gets it. */
const SMALL: Args = {
  customer: { id: "CUST456", email: "buyer@example.com", address: "123 Main St" },
  items: [
    { sku: "ABC123", quantity: 2, price: 19.99 },
    { sku: "XYZ789", quantity: 1, price: 59.5 },
  ],
  currency: "EUR",
  express: false,
  note: "leave it at the door please",
};

/** 10 KB: the rows of a table. */
const LARGE: Args = {
  rows: Array.from({ length: 90 }, (_, index) => ({
    name: `row ${index} with "quotes" and ümlauts`,
    id: index * 7919,
    ratio: index / 7,
    tags: ["alpha", "beta"],
    done: index % 2 === 0,
  })),
};

function sha256(text: string | undefined): string {
  return createHash("sha256")
    .update(text ?? "")
    .digest("hex");
}

function contenders(args: Args): Readonly<Record<string, Task>> {
  return {
    "idempotency()": () => fingerprintOf(args),
    canonicalize: () => sha256(canonicalize(args)),
    "safe-stable-stringify": () => sha256(stableStringify(args)),
  };
}

function group(what: string, args: Args): Group {
  return {
    title: `idempotency: fingerprint of ${what} (${JSON.stringify(args).length} B of arguments)`,
    measure: "time",
    contenders: contenders(args),
    reference: "idempotency()",
    targets: [
      { ours: "idempotency()", peer: "canonicalize", atMost: 0.65 },
      { ours: "idempotency()", peer: "safe-stable-stringify", atMost: 1.05 },
    ],
  };
}

export default (): readonly Group[] => [group("a small call", SMALL), group("a large call", LARGE)];
