export { withGate, withInnermost } from "./admit.js";
export { type Caller, type InvokeOptions, invokeThrough, type OutputSchema, type OutputValidation } from "./caller.js";
export { parseRetryAfter } from "./classify.js";
export type {
  Announcement,
  Attempt,
  Call,
  CallContext,
  CallEvents,
  CallListener,
  CallOptions,
  CallReport,
  CallReportError,
  CallRequest,
  Classifier,
  ClassifierInput,
  Endpoint,
  Execution,
  Handler,
  IdempotencyAnnouncement,
  InputRound,
  Key,
  Middleware,
  Outcome,
  OutcomeCode,
  PastAttempt,
  Peer,
  PinnedRecord,
  RecordKeeper,
  Runtime,
  Seat,
  Side,
  ToolAnnotations,
  ToolResult,
  Verification,
  Verify,
  VerifyQuestion,
  WrapOptions,
} from "./contract.js";
export {
  AttemptTimeoutError,
  DeadlineError,
  type ErrorAnswer,
  McpTxError,
  type McpTxErrorInit,
  OutcomeUnknownError,
  RateLimitError,
  ReplayedError,
  StoreUnavailableError,
  ToolError,
} from "./errors.js";
export { type Fetch, wrapFetch } from "./fetch.js";
export { type ReplayDecision, type ReplayQuestion, replayGate, storeCovers } from "./gate.js";
export { createKey } from "./key.js";
export { Lease, type LeaseTerms, type Moment, momentOf } from "./lease.js";
export { type ListToolsOptions, listTools, type ToolInfo } from "./list-tools.js";
export { compose, middlewareOf, pipeline, type ToolMatch, when } from "./pipeline.js";
export { reportOf } from "./report.js";
export { type RunRequest, run } from "./run.js";
export { defaultRuntime, oneRuntime, sleepUntil, startTimer } from "./runtime.js";
export type { TransportLike } from "./tap.js";
export { type Transaction, type TransactionOptions, transaction } from "./transaction.js";
export { textOf } from "./value.js";
export {
  ANNOUNCEMENT_KEY,
  CALL_META_KEY,
  type CallMeta,
  RECEIPT_ERROR_CODE,
  RECEIPT_KEY,
  type Receipt,
  readCallMeta,
  readReceipt,
} from "./wire.js";
export { type ClientLike, type SdkResult, type WrappedClient, wrapClient } from "./wrap-client.js";
export { type ServerLike, wrapServer } from "./wrap-server.js";
export { type WrappedTool, wrapTool } from "./wrap-tool.js";
export { wrapTransport } from "./wrap-transport.js";
