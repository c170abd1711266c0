import { type Caller, type Runtime, startTimer } from "@mcp-tx/core";

/** Where a handler gets its caller from. */
export type CallerSource = Caller | (() => Caller | Promise<Caller>);

function isCaller(value: unknown): value is Caller {
  return typeof (value as Partial<Caller> | null | undefined)?.call === "function";
}

/** @throws TypeError for something that is neither a caller nor a function */
export function checkSource(owner: string, source: unknown): void {
  if (typeof source === "function" || isCaller(source)) return;
  throw new TypeError(
    `${owner}: caller must have a method call(tool, args, options), as wrapClient() gives it, or be a function that connects one`,
  );
}

/** The caller, connected when it is first needed; one connection at a time, each given up after `connectTimeoutMs`. */
export class Connection {
  readonly #source: CallerSource;
  readonly #settings: { readonly connectTimeoutMs: number; readonly runtime: Runtime };
  #present: Caller | undefined;
  #connecting: Promise<Caller> | undefined;
  #failed = false;

  constructor(source: CallerSource, settings: { readonly connectTimeoutMs: number; readonly runtime: Runtime }) {
    this.#source = source;
    this.#settings = settings;
    if (typeof source !== "function") this.#present = source;
  }

  /** The caller, where there is one already. */
  get present(): Caller | undefined {
    return this.#present;
  }

  /** Whether the last attempt to connect failed. */
  get hasFailed(): boolean {
    return this.#failed;
  }

  get(): Promise<Caller> {
    if (this.#present !== undefined) return Promise.resolve(this.#present);
    this.#connecting ??= this.#begin();
    return this.#connecting;
  }

  #begin(): Promise<Caller> {
    const { runtime, connectTimeoutMs } = this.#settings;
    const connecting = this.#connect();
    const forget = (): void => {
      if (this.#connecting === connecting) this.#connecting = undefined;
    };
    // One that hangs is not waited for again. Should it come about after all, it is taken.
    const cancelTimer = startTimer(runtime, connectTimeoutMs, () => {
      this.#failed = true;
      forget();
    });
    const end = (): void => {
      cancelTimer();
      forget();
    };
    connecting.then(end, end);
    return connecting;
  }

  async #connect(): Promise<Caller> {
    try {
      const caller = typeof this.#source === "function" ? await this.#source() : this.#source;
      checkSource("createHttpHandler", caller);
      this.#present ??= caller;
      this.#failed = false;
      return this.#present;
    } catch (error) {
      this.#failed = true;
      throw error;
    }
  }
}
