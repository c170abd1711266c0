import { type Bag, type Id, isAnswer, isRequest, type Message } from "./proxy-messages.js";

/**
 * The requests of the server to its host.
 *
 * @remarks
 * The first server's pass as they are. One that was started again begins to count anew: its ids, and the progress tokens made
 * from them, get a prefix, so that an answer to its predecessor's request 0 is not taken for an answer to its own.
 */
export class ServerRequests {
  #generation = 1;
  /** By the id that the host knows, the server's own. */
  readonly #open = new Map<Id, { readonly own: Id; readonly token?: Id }>();
  /** By the token that the host knows, the server's own. */
  readonly #tokens = new Map<Id, Id>();

  /** What the host gets of a message of the server. */
  fromServer(message: Message): Message {
    if (isRequest(message)) return this.#request(message);
    if (message.method === "notifications/cancelled") return this.#cancellation(message);
    return message;
  }

  #request(message: Message & { readonly id: Id }): Message {
    const own = message.id;
    const id = this.#known(own);
    const meta = message.params?._meta as Bag | undefined;
    const theirs = meta?.progressToken;
    if (this.#generation === 1 || (typeof theirs !== "string" && typeof theirs !== "number")) {
      this.#open.set(id, { own });
      return id === own ? message : { ...message, id };
    }
    const token = this.#known(theirs);
    this.#open.set(id, { own, token });
    this.#tokens.set(token, theirs);
    return { ...message, id, params: { ...message.params, _meta: { ...meta, progressToken: token } } };
  }

  #cancellation(message: Message): Message {
    const theirs = message.params?.requestId;
    if (typeof theirs !== "string" && typeof theirs !== "number") return message;
    const id = this.#known(theirs);
    this.#close(id);
    return id === theirs ? message : { ...message, params: { ...message.params, requestId: id } };
  }

  #known(id: Id): Id {
    return this.#generation === 1 ? id : `mcp-tx/${this.#generation}/${typeof id}/${id}`;
  }

  #close(id: Id): void {
    const token = this.#open.get(id)?.token;
    if (token !== undefined) this.#tokens.delete(token);
    this.#open.delete(id);
  }

  /** What the server gets of a message of the host; `undefined` for what is meant for a server that is no more. */
  fromHost(message: Message): Message | undefined {
    if (isAnswer(message)) return this.#answer(message);
    if (this.#generation > 1 && message.method === "notifications/progress") return this.#progress(message);
    return message;
  }

  #answer(message: Message): Message | undefined {
    const { id } = message;
    // To something that could not be read: it names no request.
    if (id === undefined || id === null) return message;
    const own = this.#open.get(id)?.own;
    if (own === undefined) return undefined;
    this.#close(id);
    return own === id ? message : { ...message, id: own };
  }

  #progress(message: Message): Message | undefined {
    const token = this.#tokens.get(message.params?.progressToken as Id);
    return token === undefined ? undefined : { ...message, params: { ...message.params, progressToken: token } };
  }

  /** The server is gone. Returns what tells the host that nobody waits for its answers any more. */
  abandon(): Message[] {
    const cancelled = [...this.#open.keys()].map((requestId) => ({
      jsonrpc: "2.0",
      method: "notifications/cancelled",
      params: { requestId, reason: "The server has ended" },
    }));
    this.#generation += 1;
    this.#open.clear();
    this.#tokens.clear();
    return cancelled;
  }
}
