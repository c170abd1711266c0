import type { CircuitBreaker } from "@mcp-tx/circuit-breaker";
import { ANNOUNCEMENT_KEY, type Call } from "@mcp-tx/core";
import type { Session } from "./types.js";

/** One of several servers that are the same to a caller. */
export interface Replica {
  readonly session: Session;
  readonly breaker: CircuitBreaker;
  /** Calls under way. */
  pending: number;
  /** When it was used last, as a count of uses. */
  lastUsed: number;
}

/** 0 for one that can be called at once, more the longer it may take. */
function rank({ session, breaker }: Replica): number {
  const { circuits, isolated } = breaker.snapshot();
  if (session.state === "closed") return 4;
  if (isolated.length > 0 || circuits.some(({ state }) => state === "open")) return 3;
  if (session.state === "waiting") return 2;
  return session.state === "connecting" ? 1 : 0;
}

type Bag = Readonly<Record<string, unknown>>;

function bagOf(value: unknown, key: string): Bag | undefined {
  const found: unknown = typeof value === "object" && value !== null ? (value as Bag)[key] : undefined;
  return typeof found === "object" && found !== null ? (found as Bag) : undefined;
}

/** The store that a replica announces, as far as it is known. What it is worth the replay gate decides. */
function storeOf({ session }: Replica): unknown {
  const capabilities = (session.client as { getServerCapabilities?(): unknown }).getServerCapabilities?.();
  const announcement =
    bagOf(bagOf(capabilities, "experimental"), ANNOUNCEMENT_KEY) ??
    bagOf(bagOf(capabilities, "extensions"), ANNOUNCEMENT_KEY);
  return bagOf(announcement, "idempotency")?.storeId;
}

/** The stores that would recognise a resend of what may have run. */
function storesOf(call: Call | undefined): ReadonlySet<unknown> {
  const unresolved = call?.attempts.filter(({ outcome }) => (outcome?.execution ?? "unknown") === "unknown") ?? [];
  return new Set(unresolved.flatMap(({ storeId }) => (storeId === undefined ? [] : [storeId])));
}

/** The replica that a call goes to: one that knows of it, one that can be called at once, with the fewest calls, unused for longest. */
export function pickReplica(
  replicas: readonly Replica[],
  tried: ReadonlySet<Replica>,
  call: Call | undefined,
): Replica | undefined {
  const stores = storesOf(call);
  const isStrange = (replica: Replica): number => (stores.size > 0 && !stores.has(storeOf(replica)) ? 1 : 0);
  const rest = replicas.filter((replica) => !tried.has(replica));
  const ranked = rest.map((replica) => ({
    replica,
    order: [isStrange(replica), rank(replica), replica.pending, replica.lastUsed],
  }));
  ranked.sort((a, b) => a.order.reduce((verdict, value, index) => verdict || value - (b.order[index] ?? 0), 0));
  return ranked[0]?.replica;
}
