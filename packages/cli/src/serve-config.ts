import { resolve } from "node:path";
import type { CallReport, IdempotencyAnnouncement, Middleware, WrapOptions } from "@mcp-tx/core";
import type { IdempotencyStore } from "@mcp-tx/core/stores";
import { type Logger, type ReliableConfig, standardOrder, wrapOptions } from "mcp-tx";
import { loadConfig } from "mcp-tx/config";
import { CliError, EXIT_CODES, sayError } from "./exit-codes.js";
import type { ServerIdentity } from "./server-identity.js";
import type { Surroundings } from "./surroundings.js";

/** Hosts give up after 60 s, and the model then calls again: be done before. */
const HOST_DEADLINE_MS = 55_000;
/** A host may be closed for the night and ask again in the morning. */
const TTL_MS = 24 * 3_600_000;
/** How long a call of a proxy that was killed counts as in progress. */
const LEASE_MS = 10_000;

/**
 * The configuration: a file that is named, or else one in the user's own folder, and the environment. The working directory is not
 * searched: it is whatever folder a host was opened in, and a project must not decide how often tools are called.
 *
 * @throws CliError naming the option, the file and what is wrong in it
 */
export async function readServeConfig(where: Surroundings, file: string | undefined): Promise<ReliableConfig> {
  const { env, cwd, configFolder } = where;
  const named = file ?? (env["MCP_TX_CONFIG"]?.trim() || undefined);
  try {
    return await loadConfig({
      env,
      cwd: configFolder,
      ...(named !== undefined && { file: resolve(cwd, named) }),
    });
  } catch (error) {
    const what = sayError(error)
      .replace(/^loadConfig: /, "")
      .replace(/ unless allowCode is true$/, "; write it as JSON or YAML");
    throw new CliError(`${named === undefined ? "configuration" : "--config"}: ${what}`, EXIT_CODES.config, {
      cause: error,
    });
  }
}

type IdempotencySection = Exclude<ReliableConfig["idempotency"], boolean | undefined>;
type ToolSection = NonNullable<NonNullable<ReliableConfig["tools"]>[string]>;

function scoped(scope: unknown, { id }: ServerIdentity): string {
  return JSON.stringify([id, typeof scope === "string" ? scope : ""]);
}

/** A tool's own scope is one within the server, too. */
function scopedTool(tool: ToolSection, identity: ServerIdentity): ToolSection {
  const { idempotency } = tool;
  if (typeof idempotency !== "object" || idempotency.scope === undefined) return tool;
  return { ...tool, idempotency: { ...idempotency, scope: scoped(idempotency.scope, identity) } };
}

function idempotencyOf(
  given: ReliableConfig["idempotency"],
  identity: ServerIdentity,
  store: IdempotencyStore,
): IdempotencySection {
  const section = typeof given === "object" ? given : {};
  return { ttlMs: TTL_MS, leaseMs: LEASE_MS, ...section, store, scope: scoped(section.scope, identity) };
}

/**
 * Whether calls have records. They are in one store, or in none.
 *
 * @throws CliError for a tool that would have some in memory alone, which do not survive
 */
export function wantsStore({ idempotency, tools = {} }: ReliableConfig): boolean {
  if (idempotency !== false) return true;
  const kept = Object.entries(tools).find(([, section]) => (section.idempotency ?? false) !== false);
  if (kept === undefined) return false;
  throw new CliError(
    `configuration: tools[${JSON.stringify(kept[0])}].idempotency cannot be on where idempotency is false for all; ` +
      "leave it on for all, and switch it off for the tools that are to have none",
    EXIT_CODES.config,
  );
}

/** What every call goes through. */
export interface ServePipeline {
  readonly middleware: readonly Middleware[];
  readonly wrapOptions: WrapOptions;
  readonly announcement: IdempotencyAnnouncement | undefined;
}

/** What {@link servePipeline} is made of. */
export interface ServeParts {
  readonly config: ReliableConfig;
  readonly identity: ServerIdentity;
  /** What the user calls the server. */
  readonly name: string | undefined;
  /** `undefined` where the configuration wants no records. */
  readonly store: IdempotencyStore | undefined;
  readonly logger: Logger | undefined;
  readonly onReport: (report: CallReport) => void;
}

function announcementOf(middleware: readonly Middleware[], store: IdempotencyStore | undefined) {
  if (store === undefined) return undefined;
  return middleware.find(({ announces }) => announces !== undefined)?.announces?.({});
}

/** The standard order for one server, with its records in its own scope. */
export function servePipeline({ config, identity, name, store, logger, onReport }: ServeParts): ServePipeline {
  const { tools = {}, peer } = config;
  const complete: ReliableConfig = {
    timeoutMs: HOST_DEADLINE_MS,
    ...config,
    ...(store !== undefined && { idempotency: idempotencyOf(config.idempotency, identity, store) }),
    tools: Object.fromEntries(Object.entries(tools).map(([tool, section]) => [tool, scopedTool(section, identity)])),
    ...(name !== undefined && { peer: { ...peer, server: name } }),
    ...(logger !== undefined && { logger }),
    onReport,
  };
  const middleware = standardOrder(complete);
  return { middleware, wrapOptions: wrapOptions(complete), announcement: announcementOf(middleware, store) };
}
