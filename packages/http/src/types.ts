import type { CallContext, Caller, Runtime, ToolInfo } from "@mcp-tx/core";
import type { ErrorInfo } from "./problem-codes.js";

/** The routes, below {@link HttpHandlerOptions.basePath}. */
export type Route = "execute-tool" | "tools" | "health" | "livez" | "readyz" | "openapi";

/** The part of a Standard Schema (zod, valibot, arktype, ...) that validates arguments. */
export interface InputSchema {
  readonly "~standard": {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => InputVerdict | Promise<InputVerdict>;
    /** Standard JSON Schema: how the schema tells what it takes. Without it the documents show the server's own schema. */
    readonly jsonSchema?: { readonly input: (options: { readonly target: "draft-2020-12" }) => unknown } | undefined;
  };
}

/** What a Standard Schema says about arguments. */
export type InputVerdict =
  | { readonly value: unknown; readonly issues?: undefined }
  | { readonly issues: readonly InputIssue[] };

/** One thing that is wrong with arguments. */
export interface InputIssue {
  readonly message: string;
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}

/** How one tool is offered. */
export interface ToolSettings {
  /**
   * Validates the arguments, instead of the server's `inputSchema`; the tool gets the value that it gives.
   */
  readonly input?: InputSchema | undefined;
  /** Upper bound of `timeoutMs` for this tool, in milliseconds. Greater than 0. */
  readonly maxTimeoutMs?: number | undefined;
}

/** What `authorize` is told beside the request. */
export interface AuthorizeInfo {
  readonly route: Route;
}

/**
 * Who asks, or a refusal. `tools` are those of the offered ones that this principal may see and call, all by default; `challenge` is
 * the `WWW-Authenticate` header of a 401, `Bearer` by default.
 */
export type Authorization =
  | string
  | { readonly principal: string; readonly tools?: readonly string[] | undefined }
  | { readonly status: 401 | 403; readonly challenge?: string | undefined };

/** One check of `/health`. */
export interface HealthCheck {
  readonly status: "pass" | "warn" | "fail";
  /** Shown to whoever asks: no secrets. */
  readonly output?: string | undefined;
}

/** What is left of a limit for a call, such as `rateLimit().quota(ctx)` tells. */
export interface LimitQuota {
  /** Calls of the full quota. */
  readonly limit: number;
  /** Calls that are left. */
  readonly remaining: number;
  /** Milliseconds in which the full quota comes back. */
  readonly windowMs: number;
  /** Milliseconds until the quota is full again. */
  readonly resetMs: number;
}

/** The part of `rateLimit()` that the `RateLimit` headers are made from. */
export interface QuotaSource {
  quota(ctx: CallContext): LimitQuota | undefined;
}

/** The part of `circuitBreaker()` that `/health` looks at. */
export interface BreakerSource {
  snapshot(): { readonly circuits: readonly { readonly state: string }[]; readonly isolated: readonly string[] };
}

/** Title and version of the OpenAPI document. */
export interface DocumentInfo {
  /** @defaultValue "MCP tools" */
  readonly title?: string | undefined;
  /** @defaultValue "1.0.0" */
  readonly version?: string | undefined;
}

/** Gives the tools of the server behind a caller. */
export type ListTools = (caller: Caller, options: { readonly signal: AbortSignal }) => Promise<readonly ToolInfo[]>;

/** Options of {@link createHttpHandler}. */
export interface HttpHandlerOptions {
  /**
   * Path below which the routes are: `""`, or like `"/mcp"`.
   * @defaultValue ""
   */
  readonly basePath?: string | undefined;
  /**
   * The tools that may be called: names, or names with settings. `"all"` offers every tool of the server.
   * @defaultValue "all" while `hosts` is loopback alone; otherwise required
   */
  readonly tools?: "all" | readonly string[] | Readonly<Record<string, ToolSettings>> | undefined;
  /**
   * Says who asks, before the body is read. What it gives scopes idempotency keys, and reaches middlewares through
   * `principalOf`. Giving nothing refuses with 401; throwing answers 500 without a text. `"anyone"` lets everybody in.
   * @defaultValue "anyone" while `hosts` is loopback alone; otherwise required
   */
  readonly authorize?:
    | "anyone"
    | ((request: Request, info: AuthorizeInfo) => Authorization | undefined | Promise<Authorization | undefined>)
    | undefined;
  /**
   * Hosts that requests may name: `"api.example.com"` with any port, `"api.example.com:8443"`, or `"*"` for any.
   * @defaultValue loopback: localhost, 127.0.0.0/8, [::1]
   */
  readonly hosts?: readonly string[] | undefined;
  /**
   * Web origins that may call from a browser, such as `"https://app.example.com"`, or `"*"`; they get CORS headers. The origin of
   * the request's own host may always.
   * @defaultValue loopback origins while `hosts` is loopback alone; otherwise none but the own
   */
  readonly origins?: readonly string[] | undefined;
  /**
   * Bytes of a request body. At least 1.
   * @defaultValue 1048576
   */
  readonly maxBodyBytes?: number | undefined;
  /**
   * Milliseconds in which a body must have arrived. Greater than 0.
   * @defaultValue 10000
   */
  readonly bodyTimeoutMs?: number | undefined;
  /**
   * Levels of nesting of a body. At least 2.
   * @defaultValue 64
   */
  readonly maxDepth?: number | undefined;
  /**
   * Milliseconds that a call may take: its deadline when the request gives none, and the upper bound of `timeoutMs`. Greater
   * than 0.
   * @defaultValue 60000
   */
  readonly maxTimeoutMs?: number | undefined;
  /**
   * Milliseconds that a request waits for the connection, for the list of tools, for `authorize`, for a schema of yours and for each
   * check of `/health`. Greater than 0.
   * @defaultValue 10000
   */
  readonly connectTimeoutMs?: number | undefined;
  /**
   * Gives the server's tools. By default the caller's own `tools()`, or a `tools/list` of an SDK client. A caller that can do
   * neither needs this, or `tools` that names them.
   */
  readonly listTools?: ListTools | undefined;
  /**
   * Milliseconds for which the list of tools is believed; a tool that is not in it is looked for anew. At least 0.
   * @defaultValue 60000
   */
  readonly toolsTtlMs?: number | undefined;
  /**
   * What the answer to a tool's own failure (`isError`) holds: what the tool said, or a general text in its place. SDK servers
   * put the message of whatever a tool throws there, so that `"expose"` is for tools whose messages are written for the outside.
   * @defaultValue "redact"
   */
  readonly toolErrors?: "expose" | "redact" | undefined;
  /**
   * Limits that the `RateLimit` headers tell of.
   * @defaultValue those in the pipeline of a caller made by `wrapClient`
   */
  readonly rateLimits?: readonly QuotaSource[] | undefined;
  /**
   * Breakers that `/health` looks at.
   * @defaultValue those in the pipeline of a caller made by `wrapClient`
   */
  readonly circuitBreakers?: readonly BreakerSource[] | undefined;
  /** Further checks of `/health`; one that throws is a `fail`. */
  readonly checks?: Readonly<Record<string, () => HealthCheck | Promise<HealthCheck>>> | undefined;
  /**
   * Milliseconds between two comments on an event stream that keep it alive. Greater than 0.
   * @defaultValue 15000
   */
  readonly heartbeatMs?: number | undefined;
  /** Title and version of `/openapi.json`. */
  readonly info?: DocumentInfo | undefined;
  /** Hears what answers do not tell: the error behind a problem. Whatever it throws is swallowed. */
  readonly onError?: ((error: unknown, info: ErrorInfo) => void) | undefined;
  /** @defaultValue the process clock */
  readonly runtime?: Runtime | undefined;
}

/** What a framework knows of a request beside what the `Request` says. */
export interface RequestDetails {
  /** The body where a framework has parsed it already (`express.json()`, Fastify): the stream is consumed then. */
  readonly body?: unknown;
  /** A principal that the framework has established already; `authorize` is not asked then. */
  readonly principal?: string | undefined;
}

/** Options of {@link HttpHandler.close}. */
export interface CloseOptions {
  /**
   * Milliseconds that calls under way may still take before they are aborted. At least 0.
   * @defaultValue 10000
   */
  readonly graceMs?: number | undefined;
}

/** Methods that are routed; those that a route does not have are answered with 405. */
export type HttpMethod = "HEAD" | "GET" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS";

/** A path and a method that a handler answers. */
export interface HttpRoute {
  readonly method: HttpMethod;
  /** With the handler's `basePath`. */
  readonly path: string;
}

/** Tools over HTTP, on web-standard requests and responses. */
export interface HttpHandler {
  /** Answers one request; never rejects. */
  fetch(request: Request, given?: RequestDetails): Promise<Response>;
  /** Every path of this handler, with every method: for routers that must be told. */
  readonly routes: readonly HttpRoute[];
  /**
   * Whether a request, a URL or a path is this handler's to answer.
   *
   * @param method - where it is given, whether that method is routed as well; wrong ones of the usual are, and answered with 405
   */
  handles(target: Request | URL | string, method?: string | undefined): boolean;
  /** The caller, connected if it was not yet: one connection at a time, and a failed one is tried again by the next request. */
  caller(): Promise<Caller>;
  /**
   * Refuses new calls (503), waits for those under way and then aborts them. The caller stays open: it is yours. Repeating it
   * waits for the first.
   */
  close(options?: CloseOptions): Promise<void>;
}

/** The body of `POST /execute-tool`. */
export interface ExecuteToolRequest {
  readonly tool: string;
  /** @defaultValue an empty object */
  readonly arguments?: Readonly<Record<string, unknown>> | undefined;
  /** As the header `Idempotency-Key`; where both are there they must agree. */
  readonly idempotencyKey?: string | undefined;
  /** Milliseconds, greater than 0; bounded by {@link HttpHandlerOptions.maxTimeoutMs}. */
  readonly timeoutMs?: number | undefined;
}

/** The answer to a tool that ran, and the data of the event `result`. */
export interface ExecuteToolResponse {
  /** Whether the tool did what it was asked. */
  readonly success: boolean;
  /** There, and `true`, when the tool reports a failure. */
  readonly isError?: true | undefined;
  /** What the tool gave: `content`, `structuredContent`. */
  readonly result: Readonly<Record<string, unknown>>;
  readonly metadata: CallMetadata;
}

/** What is said of a call: its report, without what concerns nobody outside. */
export interface CallMetadata {
  readonly requestId: string;
  readonly transactionId?: string | undefined;
  readonly attempts: number;
  readonly duplicate: boolean;
  readonly execution: "executed" | "not-executed" | "unknown";
  readonly status: "completed" | "failed" | "rejected" | "cancelled" | "timeout" | "unknown";
  readonly waitedMs: number;
  readonly recorded?: boolean | undefined;
}
