import {
  type CallMeta,
  type CallReport,
  RECEIPT_ERROR_CODE,
  RECEIPT_KEY,
  type Receipt,
  readReceipt,
} from "@mcp-tx/core";
import { ERROR_POLICY_KEY, errorPolicy } from "./announce-policy.js";
import { asBag, type Bag, type Message } from "./proxy-messages.js";

function receiptOf({ requestId }: CallMeta, { execution, duplicate, error }: CallReport): Receipt {
  return {
    requestId,
    ack: true,
    execution,
    duplicate,
    ...(error?.code !== undefined && { code: error.code }),
    ...(error?.retryAfterMs !== undefined && { retryAfterMs: error.retryAfterMs }),
  };
}

function textOf(error: Message["error"]): string {
  return typeof error?.message === "string" ? error.message : "The tool could not be called.";
}

/** A refusal of ours, or of a server that talked to us. */
function refusalIn({ error }: Message): Receipt | undefined {
  return error?.code === RECEIPT_ERROR_CODE ? readReceipt(error.data) : undefined;
}

/** A result for an aware host. */
export function resultWithReceipt(answer: Message, meta: CallMeta, report: CallReport): Message {
  const result = asBag(answer.result);
  if (result === undefined) return answer;
  const receipt = receiptOf(meta, report);
  return { ...answer, result: { ...result, _meta: { ...asBag(result._meta), [RECEIPT_KEY]: receipt } } };
}

/** A failure for an aware host: the error as it is, with a receipt, and a policy where it is our own. */
export function errorWithReceipt(answer: Message, meta: CallMeta, report: CallReport): Message {
  const { data } = answer.error ?? {};
  // Data that is no object has no place for more.
  if (data !== undefined && asBag(data) === undefined) return answer;
  const receipt = receiptOf(meta, report);
  const policy =
    refusalIn(answer) === undefined ? {} : { [ERROR_POLICY_KEY]: errorPolicy(receipt, textOf(answer.error)) };
  return { ...answer, error: { ...answer.error, data: { ...asBag(data), ...policy, [RECEIPT_KEY]: receipt } } };
}

/**
 * A failure for a plain host. What was refused, or lost, is a tool result in words for its model: many hosts show a model nothing
 * of a JSON-RPC error.
 *
 * @param isStateless - whether the request was made in the stateless protocol era
 */
export function plainFailure(answer: Message, isStateless: boolean): Message {
  const refusal = refusalIn(answer);
  if (refusal === undefined) return { ...answer, error: { ...answer.error, ...plainData(answer.error?.data) } };
  const text = textOf(answer.error);
  const result = {
    content: [{ type: "text", text }],
    isError: true,
    // Required there, unknown before.
    ...(isStateless && { resultType: "complete" }),
    _meta: { [ERROR_POLICY_KEY]: errorPolicy(refusal, text) },
  };
  return { jsonrpc: "2.0", id: answer.id, result };
}

/** An error's data without what an announcing server said to the proxy. */
function plainData(data: unknown): Bag {
  const bag = asBag(data);
  if (bag === undefined || !(RECEIPT_KEY in bag)) return {};
  const { [RECEIPT_KEY]: _receipt, ...rest } = bag;
  return { data: Object.keys(rest).length === 0 ? undefined : rest };
}
