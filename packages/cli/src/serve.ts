import type { CallReport } from "@mcp-tx/core";
import type { Logger, ReliableConfig } from "mcp-tx";
import { CallLog, callEntry, callLogFolder } from "./call-log.js";
import { CliError, EXIT_CODES, sayError } from "./exit-codes.js";
import { isLoopback, type ListenAddress } from "./flags.js";
import { type ProxySpec, type Proxy as RunningProxy, startProxy } from "./proxy.js";
import { readServeConfig, type ServePipeline, servePipeline, wantsStore } from "./serve-config.js";
import { type OpenStore, openStore } from "./serve-store.js";
import { type ServerIdentity, serverIdentity, type Target } from "./server-identity.js";
import type { Output, Surroundings } from "./surroundings.js";

/** What the proxy is asked to be. */
export interface ServeRequest {
  readonly target: Target;
  /** Where to listen; a host that started the process by default. */
  readonly listen?: ListenAddress | undefined;
  readonly config?: string | undefined;
  readonly store?: string | undefined;
  readonly name?: string | undefined;
  readonly verbosity: "quiet" | "normal" | "verbose";
}

/** A line for each call that ended, and for what happened on its way. */
function stderrLogger(output: Output): Logger {
  const log = (fields: object, message: string): void => output.err(`${message} ${JSON.stringify(fields)}`);
  return { debug: log, info: log, warn: log, error: log };
}

/** Everything that lives as long as the proxy. */
class Service {
  readonly #log: CallLog;
  readonly #identity: ServerIdentity;
  #store: OpenStore | undefined;

  constructor(
    private readonly request: ServeRequest,
    private readonly where: Surroundings,
    private readonly output: Output,
  ) {
    this.#identity = serverIdentity(request.target, where.cwd, request.name);
    this.#log = new CallLog(callLogFolder(where.stateFolder));
  }

  async run(): Promise<number> {
    const config = await readServeConfig(this.where, this.request.config);
    try {
      if (wantsStore(config)) this.#store = openStore(this.where, this.#identity, this.request.store);
      const proxy = await this.#start(config);
      return await this.#end(proxy);
    } finally {
      await this.#log.close();
      await this.#store?.close();
    }
  }

  #pipeline(config: ReliableConfig): ServePipeline {
    const { name, verbosity } = this.request;
    return servePipeline({
      config,
      identity: this.#identity,
      name,
      store: this.#store?.idempotency,
      logger: verbosity === "verbose" ? stderrLogger(this.output) : undefined,
      onReport: (report: CallReport) => this.#log.add(callEntry(report, this.#identity, Date.now())),
    });
  }

  #spec(config: ReliableConfig): ProxySpec {
    const { target, listen, verbosity } = this.request;
    return {
      upstream: target,
      downstream: listen === undefined ? { kind: "stdio" } : { kind: "http", ...listen },
      ...this.#pipeline(config),
      replayAcrossSessions: config.replayAcrossSessions,
      onDiagnostic: (line) => {
        if (verbosity !== "quiet") this.output.err(line);
      },
    };
  }

  async #start(config: ReliableConfig): Promise<RunningProxy> {
    const { listen } = this.request;
    const spec = this.#spec(config);
    try {
      const proxy = await startProxy(spec);
      if (listen !== undefined) this.#tellAddress(listen, proxy.url);
      return proxy;
    } catch (error) {
      if (listen === undefined) throw error;
      const address = `${listen.host}:${listen.port}`;
      throw new CliError(`--listen: cannot listen on ${address}: ${sayError(error)}`, undefined, { cause: error });
    }
  }

  /** Also with `--quiet`: with port 0 nobody could know it otherwise. */
  #tellAddress(listen: ListenAddress, url: URL | undefined): void {
    if (url !== undefined) this.output.err(`listening on ${url.href}`);
    if (!isLoopback(listen)) {
      this.output.err(
        `--listen ${listen.host}: every machine that reaches this one can call the tools; nobody is asked who he is`,
      );
    }
  }

  async #end(proxy: RunningProxy): Promise<number> {
    const { code, reason } = await proxy.closed;
    const isFailure = code !== EXIT_CODES.ok && code < 128;
    if (this.request.verbosity === "quiet" && isFailure && reason !== undefined) this.output.err(reason);
    if (this.request.verbosity === "verbose" && this.#log.dropped > 0) {
      this.output.err(`${this.#log.dropped} calls could not be kept for the report`);
    }
    return code;
  }
}

/** The server's own lines are on the same stream. */
function signed({ out, err }: Output): Output {
  return { out, err: (line) => err(`mcp-tx: ${line}`) };
}

/**
 * Runs the proxy until its host or its server ends it.
 *
 * @returns the exit code
 * @throws CliError for a configuration, a store or an address that cannot be used
 */
export function serve(request: ServeRequest, where: Surroundings, output: Output): Promise<number> {
  return new Service(request, where, signed(output)).run();
}
