import { expect, test } from "vitest";
import { classifyResult, classifyThrow, parseRetryAfter, type WireEvidence } from "./classify.js";
import type { Outcome } from "./contract.js";
import { RECEIPT_KEY } from "./wire.js";

const NOW = Date.parse("2026-01-01T00:00:00Z");
const sent: WireEvidence = { sent: true, closed: false, session: false };
const unsent: WireEvidence = { ...sent, sent: false };

function receipt(content: object): object {
  return { [RECEIPT_KEY]: { requestId: "r", ack: true, execution: "executed", duplicate: false, ...content } };
}
function answer(code: unknown, data?: unknown): WireEvidence {
  return { ...sent, answer: { kind: "error", code, data } };
}
function http(status: number, retryAfterMs?: number, session = false): WireEvidence {
  return {
    ...sent,
    session,
    sendError: Object.assign(new Error("http"), { code: status }),
    http: { status, retryAfterMs },
  };
}
function network(fields: object, depth = 1): WireEvidence {
  let error = Object.assign(new Error("socket"), fields);
  for (let level = 0; level < depth; level += 1)
    error = new TypeError("fetch failed", { cause: error }) as typeof error;
  return { ...sent, sendError: error };
}

type Expected = Partial<Outcome>;
const row = (
  status: Outcome["status"],
  execution: Outcome["execution"],
  transient: boolean,
  code: Outcome["code"],
): Expected => ({
  status,
  execution,
  transient,
  code,
});

type ThrownRow = readonly [
  name: string,
  evidence: WireEvidence,
  expected: Expected,
  error?: unknown,
  aborted?: boolean,
];
const thrown: readonly ThrownRow[] = [
  [
    "a result that the SDK refuses afterwards",
    { ...sent, answer: { kind: "result" } },
    row("failure", "executed", false, "protocol_error"),
  ],
  ["method not found", answer(-32_601), row("failure", "not-executed", false, "protocol_error")],
  ["invalid request", answer(-32_600), row("failure", "executed", false, "protocol_error")],
  ["invalid params", answer(-32_602), row("failure", "executed", false, "protocol_error")],
  ["an error code of the server's own", answer(-32_042), row("failure", "executed", false, "protocol_error")],
  ["an error code that is no number", answer("-32601"), row("failure", "executed", false, "protocol_error")],
  ["a wire -32000, which is also the SDK's own", answer(-32_000), row("failure", "executed", false, "protocol_error")],
  [
    "an answer that came before the abort",
    answer(-32_602),
    row("failure", "executed", false, "protocol_error"),
    new Error("aborted"),
    true,
  ],
  [
    "a refusal with a receipt",
    answer(-31_001, receipt({ execution: "not-executed", code: "circuit_open", retryAfterMs: 9 })),
    { ...row("rejected", "not-executed", true, "circuit_open"), retryAfterMs: 9 },
  ],
  [
    "a limit with a receipt",
    answer(-31_001, receipt({ execution: "not-executed", code: "rate_limited" })),
    row("throttled", "not-executed", true, "rate_limited"),
  ],
  [
    "a conflict with a receipt",
    answer(-31_001, receipt({ execution: "not-executed", code: "idempotency_conflict" })),
    row("rejected", "not-executed", false, "idempotency_conflict"),
  ],
  [
    "an unknown with a receipt, which is final",
    answer(-31_001, receipt({ execution: "unknown", code: "outcome_unknown" })),
    row("failure", "unknown", false, "outcome_unknown"),
  ],
  [
    "an unknown by a lost transport of the server's own, final as well",
    answer(-31_001, receipt({ execution: "unknown", code: "transport_error" })),
    row("failure", "unknown", false, "transport_error"),
  ],
  [
    "an answer that was lost on the way",
    answer(-31_001, receipt({ ack: false, execution: "unknown", code: "transport_error" })),
    row("failure", "unknown", true, "transport_error"),
  ],
  [
    "a key in progress",
    answer(-31_001, receipt({ execution: "unknown", code: "idempotency_in_progress" })),
    row("failure", "unknown", true, "idempotency_in_progress"),
  ],
  [
    "a receipt whose code is not known",
    answer(-31_001, receipt({ code: "toString" })),
    row("failure", "executed", false, "protocol_error"),
  ],
  [
    "a retry hint in the error's data",
    answer(-32_029, { retryAfter: 2 }),
    { ...row("throttled", "executed", true, "rate_limited"), retryAfterMs: 2000 },
  ],
  [
    "an error policy that says retryable",
    answer(-32_029, {
      "dev.mcp-fuse/error-policy": { version: 1, category: "dependency", retryable: true, retry: { afterMs: 30 } },
    }),
    { ...row("failure", "executed", true, "protocol_error"), retryAfterMs: 30 },
  ],
  [
    "an error policy of another version",
    answer(-32_029, { "dev.mcp-fuse/error-policy": { version: 2, category: "rate_limit", retryable: true } }),
    row("failure", "executed", false, "protocol_error"),
  ],
  ["429", http(429, 3000), { ...row("throttled", "not-executed", true, "rate_limited"), retryAfterMs: 3000 }],
  ["404 with a session", http(404, undefined, true), row("failure", "not-executed", true, "session_expired")],
  ["404 without a session", http(404), row("failure", "not-executed", false, "transport_error")],
  ["400", http(400), row("failure", "not-executed", false, "transport_error")],
  ["401", http(401), row("failure", "not-executed", false, "transport_error")],
  ["403", http(403), row("failure", "not-executed", false, "transport_error")],
  ["408", http(408), row("failure", "unknown", true, "transport_error")],
  ["500", http(500), row("failure", "unknown", true, "transport_error")],
  [
    "503, which routers answer while the server goes on",
    http(503, 10),
    { ...row("failure", "unknown", true, "transport_error"), retryAfterMs: 10 },
  ],
  ["302", http(302), row("failure", "unknown", false, "transport_error")],
  [
    "v2's status in the error's data",
    { ...sent, sendError: Object.assign(new Error("http"), { code: "CLIENT_HTTP", data: { status: 429 } }) },
    row("throttled", "not-executed", true, "rate_limited"),
  ],
  ["connection refused", network({ code: "ECONNREFUSED" }), row("failure", "not-executed", true, "transport_error")],
  [
    "a name that does not resolve",
    network({ code: "ENOTFOUND" }),
    row("failure", "not-executed", true, "transport_error"),
  ],
  [
    "a connect that timed out",
    network({ code: "ETIMEDOUT", syscall: "connect" }),
    row("failure", "not-executed", true, "transport_error"),
  ],
  [
    "a read that timed out",
    network({ code: "ETIMEDOUT", syscall: "read" }),
    row("failure", "unknown", true, "transport_error"),
  ],
  [
    "a certificate that is not trusted",
    network({ code: "SELF_SIGNED_CERT_IN_CHAIN" }),
    row("failure", "not-executed", false, "transport_error"),
  ],
  ["connection reset", network({ code: "ECONNRESET" }), row("failure", "unknown", true, "transport_error")],
  [
    "a refusal deep in the causes",
    network({ code: "ECONNREFUSED" }, 4),
    row("failure", "not-executed", true, "transport_error"),
  ],
  [
    "an exit of the connection mid-call",
    { ...sent, closed: true },
    row("failure", "unknown", true, "transport_error"),
    Object.assign(new Error("closed"), { code: -32_000 }),
  ],
  ["a timeout, v1", sent, row("failure", "unknown", true, "attempt_timeout"), { code: -32_001 }],
  ["a timeout, v2", sent, row("failure", "unknown", true, "attempt_timeout"), { code: "REQUEST_TIMEOUT" }],
  [
    "an abort mid-flight, which both SDKs call a timeout",
    sent,
    row("cancelled", "unknown", false, "cancelled"),
    { code: -32_001 },
    true,
  ],
  [
    "an abort before anything was sent",
    unsent,
    row("cancelled", "not-executed", false, "cancelled"),
    new Error("aborted"),
    true,
  ],
  [
    "an abort of a request that was refused anyway",
    { ...network({ code: "ECONNREFUSED" }) },
    row("failure", "not-executed", true, "transport_error"),
    new Error("aborted"),
    true,
  ],
  [
    "a call on a closed connection",
    { ...unsent, closed: true },
    row("failure", "not-executed", true, "transport_error"),
    new Error("Not connected"),
  ],
  [
    "a connection that was never made, v2",
    unsent,
    row("failure", "not-executed", true, "transport_error"),
    { code: "NOT_CONNECTED" },
  ],
  ["a refusal by the SDK itself", unsent, row("failure", "not-executed", false, "protocol_error"), { code: -32_602 }],
  ["a throw of something that tells nothing", sent, row("failure", "unknown", true, "transport_error"), undefined],
  [
    "a throw of a text that says it was not executed",
    sent,
    row("failure", "unknown", true, "transport_error"),
    "429 ECONNREFUSED not executed",
  ],
  [
    "a send that failed with an object without a prototype",
    { ...sent, sendError: Object.create(null) },
    row("failure", "unknown", true, "transport_error"),
  ],
];

for (const [name, evidence, expected, error = new Error("thrown"), aborted = false] of thrown) {
  test(`reads ${name}`, () => {
    expect(classifyThrow(error, evidence, aborted, NOW)).toMatchObject(expected);
  });
}

test("does not follow causes for ever", () => {
  const error: Error & { cause?: unknown } = new Error("loop");
  error.cause = error;
  expect(classifyThrow(error, { ...sent, sendError: error }, false, NOW)).toMatchObject({
    execution: "unknown",
    transient: true,
  });
});

const results: readonly (readonly [name: string, result: Parameters<typeof classifyResult>[0], expected: Expected])[] =
  [
    ["a result", { content: [] }, { status: "success", execution: "executed", transient: false }],
    ["a result whose isError is not true", { content: [], isError: "yes" as never }, { status: "success" }],
    ["a task handle without content", {}, { status: "success" }],
    ["isError", { content: [], isError: true }, row("failure", "executed", false, "tool_error")],
    [
      "isError whose text speaks of a rate limit",
      { content: [{ type: "text", text: "429 Too Many Requests, retry after 5" }], isError: true },
      { ...row("failure", "executed", false, "tool_error"), retryAfterMs: undefined },
    ],
    [
      "isError with a hint",
      { content: [], isError: true, _meta: { retryAfterMs: 250 } },
      { ...row("throttled", "executed", true, "rate_limited"), retryAfterMs: 250 },
    ],
    [
      "isError with a receipt",
      { content: [], isError: true, _meta: { ...receipt({ execution: "not-executed", code: "queue_full" }) } },
      row("throttled", "not-executed", true, "queue_full"),
    ],
    [
      "isError with an open circuit in its policy",
      {
        content: [],
        isError: true,
        _meta: {
          "io.modelcontextprotocol/error-policy": {
            version: "1",
            category: "dependency",
            circuit: { state: "open", reopenAfterMs: 40 },
          },
        },
      },
      { ...row("failure", "executed", false, "tool_error"), retryAfterMs: 40 },
    ],
    [
      "a success with a hint, which is no throttling",
      { content: [], _meta: { retryAfterMs: 250 } },
      { status: "success" },
    ],
  ];

test.each(results)("reads %s", (_name, result, expected) => {
  expect(classifyResult(result, NOW)).toMatchObject(expected);
});

const retryAfter: readonly (readonly [unknown, number | undefined])[] = [
  ["5", 5000],
  [" 5 ", 5000],
  ["0", 0],
  ["1.5", 1500],
  [5, 5000],
  ["Thu, 01 Jan 2026 00:00:10 GMT", 10_000],
  ["Thursday, 01-Jan-26 00:00:10 GMT", 10_000],
  ["2026-01-01T00:00:10Z", 10_000],
  ["Wed, 31 Dec 2025 23:59:00 GMT", 0],
  ["-5", undefined],
  [-5, undefined],
  ["1e400", undefined],
  ["", undefined],
  ["  ", undefined],
  ["soon", undefined],
  ["later 5", undefined],
  ["retry 3", undefined],
  ["5 minutes", undefined],
  [Number.NaN, undefined],
  [Infinity, undefined],
  [null, undefined],
  [{}, undefined],
  [["5"], undefined],
];

test.each(retryAfter)("reads Retry-After %o", (value, expected) => {
  expect(parseRetryAfter(value, NOW)).toBe(expected);
});

test.each([
  ["sent", true, "unknown"],
  ["unsent", false, "not-executed"],
] as const)("an error that throws when it is looked at says nothing: %s", (_, sent, execution) => {
  const hostile = new Proxy(new Error("x"), {
    get: () => {
      throw new Error("hostile");
    },
  });
  const evidence = { sent, closed: false, session: false };
  expect(classifyThrow(hostile, evidence, false, 0)).toMatchObject({ status: "failure", execution, transient: false });
});
