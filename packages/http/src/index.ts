export type { CallerSource } from "./connection.js";
export { createHttpHandler } from "./create-handler.js";
export { principalOf } from "./principal.js";
export type { ErrorInfo, HttpProblemCode, Problem, ProblemCode, ProblemPointer } from "./problem-codes.js";
export type {
  Authorization,
  AuthorizeInfo,
  BreakerSource,
  CallMetadata,
  CloseOptions,
  DocumentInfo,
  ExecuteToolRequest,
  ExecuteToolResponse,
  HealthCheck,
  HttpHandler,
  HttpHandlerOptions,
  HttpMethod,
  HttpRoute,
  InputIssue,
  InputSchema,
  InputVerdict,
  LimitQuota,
  ListTools,
  QuotaSource,
  RequestDetails,
  Route,
  ToolSettings,
} from "./types.js";
