import { type Attempt, type Call, type CallContext, createKey, type Key, type Runtime } from "@mcp-tx/core";
import type { Link } from "./session-link.js";
import { waitFor } from "./session-wait.js";
import type { ReplayAcrossSessions } from "./types.js";

/** Which connection each attempt of a call was given to, by its index among the attempts. Shared by all sessions a call passes. */
const SentThrough: Key<Map<number, Link>> = createKey("mcp-tx.session.sent-through");

/** Notes, right before the dispatch, where the attempt that begins now goes to; gives its place among the attempts. */
export function noteDispatch({ call }: CallContext, link: Link): number {
  const index = call.attempts.length;
  let sent = call.get(SentThrough);
  if (sent === undefined) {
    sent = new Map();
    call.set(SentThrough, sent);
  }
  // A refusal further in begins no attempt: then the next one takes the place.
  sent.set(index, link);
  return index;
}

function wasSent(attempt: Attempt | undefined): boolean {
  return attempt?.handedOver === true;
}

/** The other connections in which an attempt of the call was sent. What never left is no reason to stay. */
export function otherLinks(call: Call, link: Link): readonly Link[] {
  const sent = call.get(SentThrough);
  if (sent === undefined) return [];
  return [...sent]
    .filter(([index, other]) => other !== link && wasSent(call.attempts[index]))
    .map(([, other]) => other);
}

/** Says whether a call may go on in another session than that in which it began. */
export class ReplayRule {
  constructor(
    private readonly option: ReplayAcrossSessions | undefined,
    private readonly runtime: Runtime,
  ) {}

  async allows(ctx: CallContext, link: Link, others: readonly Link[]): Promise<boolean> {
    if (typeof this.option === "boolean") return this.option;
    if (this.option !== undefined) return this.#ask(this.option, ctx);
    if (link.isStateless && others.every((other) => other.isStateless)) return true;
    return this.#isTrustedRead(ctx);
  }

  /** A callback that throws allows nothing. */
  #ask(option: Exclude<ReplayAcrossSessions, boolean>, { call }: CallContext): boolean {
    try {
      return option(call.peer) === true;
    } catch {
      return false;
    }
  }

  async #isTrustedRead(ctx: CallContext): Promise<boolean> {
    const { call, signal } = ctx;
    try {
      if (!call.trustsAnnotations || call.endpoint === undefined) return false;
      const reading = call.endpoint.annotations(ctx.tool, ctx);
      const deadline = Math.min(ctx.deadline, call.deadline);
      const annotations = await waitFor(reading, { signal, deadline }, this.runtime, () => undefined);
      return annotations?.readOnlyHint === true;
    } catch {
      return false;
    }
  }
}
