import { expectResponse } from "./http-registry.js";
import { asBag, type Message, RECEIPT_ERROR_CODE, RECEIPT_KEY, type Receipt } from "./wire.js";
import { Wire, WireKey } from "./wire-attempt.js";

/** The part of an MCP transport, of either SDK line, that is used here. */
export interface TransportLike {
  send(message: never, options?: never): Promise<void>;
  onmessage?: ((message: never, extra?: never) => void) | undefined;
  onclose?: (() => void) | undefined;
  readonly sessionId?: string | undefined;
}

/** Structural view of a transport for patching: parameters open, so that either SDK's messages pass. */
interface Patched {
  send(message: Message, options?: unknown): Promise<void>;
  onmessage?: ((message: Message, extra?: unknown) => void) | undefined;
  onclose?: (() => void) | undefined;
  readonly sessionId?: string | undefined;
}

/** A transport under watch. */
export interface Watch {
  /** How often the server has said that its tools changed. */
  toolChanges: number;
}

interface State extends Watch {
  /** Puts the watch round the callbacks that the transport has now. */
  listen(): void;
}

const watches = new WeakMap<object, State>();

/** How many requests that nobody waits for any more may still be followed, to learn that their work is over. */
const MAX_FOLLOWED = 1000;

/** JSON-RPC error that says: the exchange ended and nobody knows what became of the request. */
export function lostAnswer(id: string | number): Message {
  const receipt: Receipt = {
    requestId: "",
    ack: false,
    execution: "unknown",
    duplicate: false,
    code: "transport_error",
  };
  return {
    jsonrpc: "2.0",
    id,
    error: {
      code: RECEIPT_ERROR_CODE,
      message: "The response ended without an answer; it is unknown whether the tool ran.",
      data: { [RECEIPT_KEY]: receipt },
    },
  };
}

/** Starts watching a transport; watching it again changes nothing, unless somebody replaced its callbacks meanwhile. */
export function watch(transport: object): Watch {
  const known = watches.get(transport);
  if (known !== undefined) {
    known.listen();
    return known;
  }
  const patched = transport as Patched;
  const pending = new Map<string | number, Wire>();
  let lookAt = MAX_FOLLOWED;
  const state: State = { toolChanges: 0, listen };
  watches.set(transport, state);
  let closed = false;
  let onmessage: Patched["onmessage"];
  let receive: Patched["onmessage"];
  let close: Patched["onclose"];

  const { send } = patched;
  patched.send = (message, options) => {
    const wire = message?.method === "tools/call" ? message.params?.[WireKey] : undefined;
    if (message?.method === "initialize" || message?.method === "server/discover") closed = false;
    if (!(wire instanceof Wire) || message.id === undefined || message.id === null) {
      return send.call(patched, message, options);
    }
    // Whoever waited for it has heard how it ended: an SDK that is still at it must not send it once more.
    if (wire.attempt.outcome !== undefined)
      return Promise.reject(new Error("The call ended before this message was sent"));
    return dispatch(message, message.id, wire, options);
  };

  function dispatch(message: Message, id: string | number, wire: Wire, options: unknown): Promise<void> {
    // A closed transport that refuses the message has not let it out.
    wire.closed = closed;
    if (!closed) wire.leave(patched.sessionId !== undefined);
    follow(keyOf(id), wire);
    const responded = expectResponse(id, message, wire);
    return sendWatched(message, id, options).then(
      () => {
        responded();
        if (!wire.sent) wire.leave(patched.sessionId !== undefined);
      },
      (error) => {
        responded();
        noticeFailure(message, id, wire, error);
        throw error;
      },
    );
  }

  /** The transport's own `send`. It may also throw instead of rejecting, or give no promise. */
  function sendWatched(message: Message, id: string | number, options: unknown): Promise<void> {
    try {
      const isTold = "hasPerRequestStream" in patched;
      return Promise.resolve(send.call(patched, message, isTold ? withStreamEnd(options, () => abandon(id)) : options));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  function noticeFailure(message: Message, id: string | number, wire: Wire, error: unknown): void {
    pending.delete(keyOf(id));
    const answer = answerInBody(error, id);
    // What cannot be written never left, whatever the transport made of it.
    if (!isSerialisable(message)) wire.sent = false;
    else if (answer === undefined) wire.fail(error);
    else wire.arrive(answer);
  }

  /** The stream of a request ended without its answer: settle the request instead of letting it run into its timeout. */
  function abandon(id: string | number): void {
    const wire = pending.get(keyOf(id));
    if (wire === undefined) return;
    pending.delete(keyOf(id));
    wire.close();
    onmessage?.call(patched, lostAnswer(id));
  }

  /** Servers need not answer what was cancelled: of that, only the latest is kept. Looked through each time its number has doubled. */
  function follow(key: string | number, wire: Wire): void {
    pending.set(key, wire);
    if (pending.size <= lookAt) return;
    for (const [oldest, { attempt }] of pending) {
      if (pending.size <= MAX_FOLLOWED) break;
      if (attempt.outcome !== undefined) pending.delete(oldest);
    }
    lookAt = 2 * Math.max(pending.size, MAX_FOLLOWED);
  }

  function listen(): void {
    if (receive === undefined || patched.onmessage !== receive) {
      const theirs = patched.onmessage;
      onmessage = theirs;
      receive = (message, extra) => {
        notice(message);
        theirs?.call(patched, message, extra);
      };
      patched.onmessage = receive;
    }
    if (close === undefined || patched.onclose !== close) {
      const theirs = patched.onclose;
      close = () => {
        noticeClose();
        theirs?.call(patched);
      };
      patched.onclose = close;
    }
  }

  function notice(message: Message): void {
    closed = false;
    if (message?.method === undefined && message?.id !== undefined) {
      const key = keyOf(message.id);
      pending.get(key)?.arrive(message);
      pending.delete(key);
    }
    if (message?.method === "notifications/tools/list_changed") state.toolChanges += 1;
  }

  function noticeClose(): void {
    closed = true;
    for (const wire of pending.values()) wire.close();
    pending.clear();
  }

  listen();
  return state;
}

/**
 * One key for a number and its decimal notation, as both SDKs take them for the same id. A number stays one: to make a string of
 * each, twice a call, costs 0.2 µs.
 */
function keyOf(id: unknown): string | number {
  if (typeof id === "number") return id;
  const text = String(id);
  const number = Number(text);
  return String(number) === text ? number : text;
}

function isSerialisable(message: Message): boolean {
  try {
    JSON.stringify(message);
    return true;
  } catch {
    return false;
  }
}

/** SDK v2's HTTP transport tells when a request's stream has ended, if it is asked to. */
function withStreamEnd(options: unknown, ended: () => void): object {
  const given = asBag(options);
  const theirs = given?.onRequestStreamEnd;
  return {
    ...given,
    onRequestStreamEnd: () => {
      if (typeof theirs === "function") theirs();
      ended();
    },
  };
}

/** An HTTP error status may carry a JSON-RPC answer to this very request: then the server did handle it. */
function answerInBody(error: unknown, id: string | number): Message | undefined {
  const bag = asBag(error);
  const text = asBag(bag?.data)?.text ?? bag?.message;
  if (typeof text !== "string") return undefined;
  const start = text.indexOf("{");
  if (start < 0) return undefined;
  try {
    const message: Message = JSON.parse(text.slice(start));
    return message.jsonrpc === "2.0" && message.id === id && typeof message.error === "object" ? message : undefined;
  } catch {
    return undefined;
  }
}
