import { asBag, type Bag, type Id, type Message, type Request } from "./proxy-messages.js";

/** Sends a request, or a notification, of the proxy's own. */
export interface Greeter {
  /** @throws when the server answers with an error, or not at all */
  request(method: string, params: Bag | undefined): Promise<unknown>;
  notify(method: string, params: Bag | undefined): Promise<void>;
  /** What the session was negotiated to, before anything else is sent. */
  negotiated(protocolVersion: string): void;
}

const FOLLOWED: ReadonlySet<string> = new Set([
  "initialize",
  "logging/setLevel",
  "resources/subscribe",
  "resources/unsubscribe",
]);

/** What the capability is called, and what its host hears of a change. */
const LISTS = ["tools", "prompts", "resources"] as const;

/**
 * What a host has told its server, and heard from it: so much of it as a new server must be told so that the session goes on.
 */
export class Handshake {
  readonly #open = new Map<Id, Request>();
  #initialize: Bag | undefined;
  #initialized: Message | undefined;
  #capabilities: Bag | undefined;
  #protocolVersion: string | undefined;
  #level: Bag | undefined;
  readonly #subscriptions = new Map<string, Bag>();

  // Following the session

  noteFromHost(message: Message): void {
    if (message.method === "notifications/initialized") this.#initialized = message;
    else if (message.method === "notifications/cancelled") this.#open.delete(message.params?.requestId as Id);
  }

  noteRequest(request: Request): void {
    if (FOLLOWED.has(request.method)) this.#open.set(request.id, request);
  }

  /** The answer to a request counts only where it is no error. */
  noteAnswer(answer: Message): void {
    const request = this.#open.get(answer.id as Id);
    if (request === undefined) return;
    this.#open.delete(request.id);
    if (answer.error === undefined) this.#done(request, asBag(answer.result));
  }

  #done({ method, params }: Request, result: Bag | undefined): void {
    if (method === "initialize") this.#begin(params, result);
    else if (method === "logging/setLevel") this.#level = params;
    else if (method === "resources/subscribe") this.#subscriptions.set(String(params?.uri), params ?? {});
    else this.#subscriptions.delete(String(params?.uri));
  }

  #begin(params: Bag | undefined, result: Bag | undefined): void {
    this.#initialize = params ?? {};
    this.#capabilities = asBag(result?.capabilities);
    this.#protocolVersion = typeof result?.protocolVersion === "string" ? result.protocolVersion : undefined;
    this.#level = undefined;
    this.#subscriptions.clear();
  }

  get protocolVersion(): string | undefined {
    return this.#protocolVersion;
  }

  // Going on with another server

  /** Whether a server has been greeted by the host. */
  get isUnderWay(): boolean {
    return this.#initialize !== undefined;
  }

  /**
   * Brings a new server to where the one before was.
   *
   * @returns what the host should hear: lists that may have changed, and resources that may have
   */
  async replay(greeter: Greeter): Promise<readonly Message[]> {
    const result = asBag(await greeter.request("initialize", this.#initialize));
    if (result?.protocolVersion !== this.#protocolVersion)
      throw new Error(
        `the server now speaks protocol ${result?.protocolVersion}, and the session was begun with ${this.#protocolVersion}`,
      );
    if (this.#protocolVersion !== undefined) greeter.negotiated(this.#protocolVersion);
    if (this.#initialized === undefined) return [];
    await greeter.notify("notifications/initialized", this.#initialized.params);
    const kept = [...(this.#level === undefined ? [] : [greeter.request("logging/setLevel", this.#level)])];
    for (const params of this.#subscriptions.values()) kept.push(greeter.request("resources/subscribe", params));
    // A new server may lack a resource that the one before had: the host hears of the change and looks.
    await Promise.allSettled(kept);
    return this.#changes();
  }

  #changes(): Message[] {
    const lists = LISTS.filter((list) => asBag(this.#capabilities?.[list])?.listChanged === true);
    return [
      ...lists.map((list) => notification(`notifications/${list}/list_changed`)),
      ...[...this.#subscriptions.keys()].map((uri) => notification("notifications/resources/updated", { uri })),
    ];
  }
}

function notification(method: string, params?: Bag): Message {
  return { jsonrpc: "2.0", method, ...(params !== undefined && { params }) };
}
