import type { Runtime } from "../contract.js";
import { defaultRuntime } from "../runtime.js";
import type { TransportLike } from "../tap.js";
import type { Message } from "../wire.js";

/**
 * What happens to a message.
 *
 * - `drop`: it is lost.
 * - `duplicate`: it arrives twice.
 * - `close`: the connection closes; an outgoing message still gets out, an incoming one is lost.
 * - `delayMs`: it arrives that much later, and others may overtake it.
 * - `answerLate`: an outgoing request arrives in time, and its answer that many milliseconds late.
 * - `error`: an outgoing message is not sent and `send` rejects; an incoming one is lost and reported to `onerror`.
 */
export type Fault =
  | "drop"
  | "duplicate"
  | "close"
  | { readonly delayMs: number }
  | { readonly answerLate: number }
  | { readonly error: unknown };

/** Where a message is going, and its number in that direction, from 1. */
export interface Passage {
  readonly direction: "out" | "in";
  readonly count: number;
}

/** Decides what happens to each message; `undefined` lets it pass. */
export type FaultPlan = (message: Message, passage: Passage) => Fault | undefined;

/** Options of {@link faultyTransport}. */
export interface FaultyTransportOptions {
  /**
   * The clock that delays pass on.
   * @defaultValue the process clock
   */
  readonly runtime?: Runtime | undefined;
}

/** Structural view of a transport, parameters open. */
interface Inner {
  send(message: Message, options?: unknown): Promise<void>;
  close?(): Promise<void>;
  onmessage?: ((message: Message, extra?: unknown) => void) | undefined;
  onclose?: (() => void) | undefined;
  onerror?: ((error: unknown) => void) | undefined;
}

const KINDS: readonly unknown[] = [undefined, "drop", "duplicate", "close"];
const MEMBERS: readonly string[] = ["delayMs", "answerLate", "error"];

function checkFault(fault: unknown): asserts fault is Fault | undefined {
  if (KINDS.includes(fault)) return;
  const isKnown = typeof fault === "object" && fault !== null && MEMBERS.some((name) => name in fault);
  if (!isKnown) throw new TypeError(`faultyTransport: plan returned ${JSON.stringify(fault)}, which is no fault`);
}

class FaultyLink {
  /** What the facade shows in place of the transport's own members. Writable: clients and wrappers set callbacks and patch `send`. */
  readonly members: Inner = {
    send: (message, options) => this.#send(message, options),
    onmessage: undefined,
    onclose: undefined,
    onerror: undefined,
  };
  readonly #inner: Inner;
  readonly #plan: FaultPlan;
  readonly #runtime: Runtime;
  readonly #late = new Map<string, number>();
  readonly #closed = new AbortController();
  readonly #counts = { out: 0, in: 0 };

  constructor(inner: Inner, plan: FaultPlan, runtime: Runtime) {
    this.#inner = inner;
    this.#plan = plan;
    this.#runtime = runtime;
    inner.onmessage = (message, extra) => this.#receive(message, extra);
    inner.onclose = () => {
      this.#closed.abort();
      this.members.onclose?.();
    };
    inner.onerror = (error) => this.members.onerror?.(error);
  }

  #faultOf(message: Message, direction: Passage["direction"]): Fault | undefined {
    this.#counts[direction] += 1;
    const fault: unknown = this.#plan(message, { direction, count: this.#counts[direction] });
    checkFault(fault);
    return fault;
  }

  async #send(message: Message, options: unknown): Promise<void> {
    const fault = this.#faultOf(message, "out");
    if (fault === "drop") return;
    if (typeof fault === "object") {
      if ("error" in fault) throw fault.error;
      if ("delayMs" in fault) await this.#runtime.sleep(fault.delayMs, this.#closed.signal);
      else this.#late.set(String(message.id), fault.answerLate);
    }
    await this.#inner.send(message, options);
    if (fault === "duplicate") await this.#inner.send(message, options);
    if (fault === "close") await this.#inner.close?.();
  }

  #receive(message: Message, extra: unknown): void {
    const fault = this.#faultOf(message, "in");
    const lateMs = this.#latenessOf(message, fault);
    if (fault === "drop") return;
    if (fault === "close") this.#inner.close?.().catch((error) => this.members.onerror?.(error));
    else if (typeof fault === "object" && "error" in fault) this.members.onerror?.(fault.error);
    else if (lateMs > 0) this.#deliverLater(message, extra, lateMs);
    else this.#deliver(message, extra, fault === "duplicate");
  }

  #latenessOf(message: Message, fault: Fault | undefined): number {
    if (typeof fault === "object" && "delayMs" in fault) return fault.delayMs;
    if (typeof fault === "object" && "answerLate" in fault) return fault.answerLate;
    const id = String(message.id);
    const planned = message.method === undefined ? (this.#late.get(id) ?? 0) : 0;
    if (planned > 0) this.#late.delete(id);
    return planned;
  }

  #deliver(message: Message, extra: unknown, twice = false): void {
    this.members.onmessage?.(message, extra);
    if (twice) this.members.onmessage?.(message, extra);
  }

  #deliverLater(message: Message, extra: unknown, ms: number): void {
    this.#runtime.sleep(ms, this.#closed.signal).then(
      () => this.#deliver(message, extra),
      // Closed meanwhile: the message is lost.
      () => undefined,
    );
  }
}

/**
 * Wraps an MCP transport of either SDK line in a bad connection.
 *
 * @param plan - asked about every message in both directions, the handshake included
 */
export function faultyTransport<T extends TransportLike>(
  inner: T,
  plan: FaultPlan,
  { runtime = defaultRuntime }: FaultyTransportOptions = {},
): T {
  if (typeof inner?.send !== "function")
    throw new TypeError("faultyTransport: inner must be an MCP transport with a send method");
  if (typeof plan !== "function")
    throw new TypeError("faultyTransport: plan must be a function (message, passage) => fault");
  const { members } = new FaultyLink(inner as unknown as Inner, plan, runtime);
  return new Proxy(inner, {
    get(target, property) {
      if (Object.hasOwn(members, property)) return Reflect.get(members, property);
      const value: unknown = Reflect.get(target, property, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
    set: (target, property, value) =>
      Object.hasOwn(members, property)
        ? Reflect.set(members, property, value)
        : Reflect.set(target, property, value, target),
  });
}
