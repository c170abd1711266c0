import { isOpening, type Message, type Request } from "./proxy-messages.js";

interface Pending {
  readonly request: Request;
  /** Of the connection that it went out on. */
  readonly generation: number;
}

/** The requests that the server has not answered. */
export class PendingRequests {
  readonly #entries = new Map<string, Pending>();

  add(request: Request, generation: number): void {
    this.#entries.set(String(request.id), { request, generation });
  }

  /** Whether this very request, not a later one under its id, still waits. */
  has(request: Request): boolean {
    return this.#entries.get(String(request.id))?.request === request;
  }

  forget(id: unknown): void {
    this.#entries.delete(String(id));
  }

  /** Takes out the request that a message of a connection answers. */
  take({ id }: Message, generation: number): Request | undefined {
    const entry = this.#entries.get(String(id));
    if (entry?.generation !== generation) return undefined;
    this.#entries.delete(String(id));
    return entry.request;
  }

  /** Takes out what went out on a connection and cannot simply be sent again. */
  takeLost(generation: number, isGreeting: (request: Request) => boolean): Request[] {
    const lost = [...this.#entries.values()]
      .filter((entry) => entry.generation === generation && (!isOpening(entry.request) || isGreeting(entry.request)))
      .map(({ request }) => request);
    for (const { id } of lost) this.#entries.delete(String(id));
    return lost;
  }

  /** What the host began its session with: it can be sent to any server, and is worth no error while there may be a next one. */
  openings(isGreeting: (request: Request) => boolean): Request[] {
    const all = [...this.#entries.values()].map(({ request }) => request);
    return all.filter((request) => isOpening(request) && !isGreeting(request));
  }
}
