import type {
  IdempotencyClaim,
  IdempotencyClaimed,
  IdempotencyRecord,
  IdempotencySettlement,
  IdempotencyState,
  IdempotencyStore,
} from "@mcp-tx/core/stores";
import { type Connection, isYes, listOf, type Script, textOf } from "./connection.js";
import { CLAIM, EXPIRE, EXTEND, GET, RELEASE, SETTLE } from "./idempotency-lua.js";
import type { Identity } from "./identity.js";
import type { Keys } from "./keys.js";
import { Sweeper } from "./sweeper.js";
import { lossyText, numberOf, numberText } from "./text.js";

/** Claims that were refused because of a loss, remembered for their repetition. */
const MAX_REFUSED = 1000;
/** Claims sent anew because the marker beside the record was behind the others. Once is enough, but for other processes. */
const MAX_ROUNDS = 10;

const optional = (reply: unknown): string | undefined =>
  reply === null || reply === undefined ? undefined : textOf(reply);

function recordOf(key: string, fields: readonly unknown[]): IdempotencyRecord {
  const [state, fingerprint, token, epoch, leaseUntil, expiresAt, sentAtWall] = fields.map(textOf);
  return {
    key,
    fingerprint: String(fingerprint),
    token: String(token),
    // Scripts write nothing else.
    state: state as IdempotencyState,
    epoch: Number(epoch),
    outcome: optional(fields[8]),
    leaseUntil: numberOf(String(leaseUntil)),
    expiresAt: numberOf(String(expiresAt)),
    sentAtWall: numberOf(String(sentAtWall)),
    sentTo: optional(fields[7]),
  };
}

/** The record that a claim made. */
function ownRecord(key: string, claim: IdempotencyClaim, leaseUntil: number): IdempotencyRecord {
  const { fingerprint, token, epoch, sentAtWall, sentTo } = claim;
  const state = "pending";
  const outcome = undefined;
  const expiresAt = Infinity;
  return { key, fingerprint, token, state, epoch, outcome, leaseUntil, expiresAt, sentAtWall, sentTo };
}

function claimParameters(claim: IdempotencyClaim, storeId: string): string[] {
  const { fingerprint, token, leaseMs, epoch, sentAtWall, sentTo, takeover } = claim;
  const given = [
    token,
    fingerprint,
    numberText(leaseMs),
    numberText(epoch),
    numberText(sentAtWall),
    storeId,
    takeover === undefined ? "" : `=${takeover}`,
  ];
  if (sentTo !== undefined) given.push(sentTo);
  return given;
}

/** Idempotency records, a hash each. */
export class RedisIdempotencyStore implements IdempotencyStore {
  readonly durable = true;
  readonly #connection: Connection;
  readonly #keys: Keys;
  readonly #identity: Identity;
  readonly #sweeper: Sweeper;
  readonly #ready: () => Promise<void>;
  readonly #refused = new Set<string>();

  constructor(connection: Connection, keys: Keys, identity: Identity, ready: () => Promise<void>) {
    this.#connection = connection;
    this.#keys = keys;
    this.#identity = identity;
    this.#sweeper = new Sweeper(connection, keys.recordPrefix);
    this.#ready = ready;
  }

  get storeId(): string {
    const { known } = this.#identity;
    if (known === undefined) throw new Error("redisStore: storeId is not known yet; await ready() first");
    return known;
  }

  /** Here and below no `async` function: each costs promises and turns of the microtask queue on the way of every call. */
  claim(key: string, claim: IdempotencyClaim): Promise<IdempotencyClaimed> {
    const isPlain = this.#identity.known !== undefined && this.#refused.size === 0;
    return isPlain ? this.#claim(key, claim, 0) : this.#claimWarily(key, claim);
  }

  extend(key: string, token: string, leaseMs: number): Promise<boolean> {
    return this.#run(EXTEND, key, [token, numberText(leaseMs)], isYes);
  }

  settle(key: string, token: string, settlement: IdempotencySettlement): Promise<boolean> {
    const { state, outcome, ttlMs, epoch } = settlement;
    const given = [token, state, numberText(ttlMs), epoch === undefined ? "" : numberText(epoch)];
    if (outcome !== undefined) given.push(outcome);
    const unstorable = lossyText("the outcome", outcome);
    if (unstorable !== undefined) return Promise.reject(unstorable);
    return this.#run(SETTLE, key, given, isYes);
  }

  release(key: string, token: string): Promise<boolean> {
    return this.#run(RELEASE, key, [token], isYes);
  }

  get(key: string): Promise<IdempotencyRecord | undefined> {
    return this.#run(GET, key, [], (reply) =>
      reply === null || reply === undefined ? undefined : recordOf(key, listOf(reply)),
    );
  }

  expire(key: string, token: string, ttlMs: number): Promise<boolean> {
    return this.#run(EXPIRE, key, [token, numberText(ttlMs)], isYes);
  }

  async sweep(limit: number): Promise<number> {
    const driverPrefix = this.#identity.driverPrefix ?? (await this.#ready().then(() => this.#identity.driverPrefix));
    return this.#sweeper.sweep(limit, driverPrefix ?? "");
  }

  async #claimWarily(key: string, claim: IdempotencyClaim): Promise<IdempotencyClaimed> {
    if (this.#identity.known === undefined) await this.#ready();
    // A repetition of a claim that found the data lost finds new data: who sent the call still means the old.
    if (this.#refused.has(claim.token)) throw this.#lossError();
    return this.#claim(key, claim, 0);
  }

  /** One round trip, unless the marker beside the record is not that of the data whose identity was learned. */
  #claim(key: string, claim: IdempotencyClaim, round: number): Promise<IdempotencyClaimed> {
    const { storeId } = this;
    const parameters = claimParameters(claim, storeId);
    const unstorable = lossyText("the key", key) ?? lossyText("sentTo", claim.sentTo);
    if (unstorable !== undefined) return Promise.reject(unstorable);
    return this.#connection.run(CLAIM, this.#keys.claimed(key), parameters, (reply) => {
      const fields = listOf(reply);
      const won = Number(fields[0]);
      if (won === 1) return { won: true, record: ownRecord(key, claim, numberOf(textOf(fields[1]))) };
      return won === 0
        ? { won: false, record: recordOf(key, fields.slice(1)) }
        : this.#claimAnew(key, claim, storeId, round);
    });
  }

  async #claimAnew(key: string, claim: IdempotencyClaim, storeId: string, round: number): Promise<IdempotencyClaimed> {
    if ((await this.#identity.learn()) !== storeId) throw this.#refuse(claim.token);
    if (round < MAX_ROUNDS) return this.#claim(key, claim, round + 1);
    throw new Error("redisStore: the marker beside the record keeps changing, so nothing was claimed; try again");
  }

  #run<T>(script: Script, key: string, given: string[], read: (reply: unknown) => T): Promise<T> {
    const unstorable = lossyText("the key", key);
    if (unstorable !== undefined) return Promise.reject(unstorable);
    return this.#connection.run(script, [this.#keys.record(key)], given, read);
  }

  #refuse(token: string): Error {
    this.#refused.add(token);
    const [oldest] = this.#refused;
    if (this.#refused.size > MAX_REFUSED && oldest !== undefined) this.#refused.delete(oldest);
    return this.#lossError();
  }

  #lossError(): Error {
    return new Error(
      "redisStore: records were lost since this store was made ready (the server was flushed, or came back without its data), " +
        "so this claim, which relies on them, is refused. The store has a new storeId; claims made from now on are taken",
    );
  }
}
