/**
 * The generic cell rate algorithm, over an explicit `now`. Of each key one number is kept: when its tokens will all be back, if
 * nobody takes any (the "theoretical arrival time" of ITU-T I.371). A key whose time has passed is as good as new.
 */

/** A limit in milliseconds. */
export interface Limit {
  /** In which one token comes back. */
  readonly intervalMs: number;
  /** In which all of them come back. */
  readonly burstMs: number;
}

/** A limit of `rate` tokens per second and `burst` at once. */
export function limitOf({ rate, burst }: { readonly rate: number; readonly burst: number }): Limit {
  const intervalMs = 1000 / rate;
  return { intervalMs, burstMs: burst * intervalMs };
}

interface Pause {
  readonly since: number;
  readonly until: number;
  /** When nobody can ask any more to have tokens back that were taken before it. */
  readonly overAt: number;
}

/** Of fewer keys none is looked for to be forgotten: what they hold is less than looking costs. */
const FEW = 64;
/** Keys looked at per take. More than come in with one, so that a flood of new ones cannot outrun it. */
const LOOKS = 3;
/** Times closer than this are the same: what rounding may make of them. In milliseconds, or as a share of the clock's reading. */
const ROUNDING_MS = 1e-6;
const ROUNDING = 2 ** -50;

/** The tokens of any number of keys. Each key costs one number; there is no timer. */
export class GcraTable {
  readonly #fullAt = new Map<string, number>();
  readonly #pauses = new Map<string, Pause>();
  #keys = this.#fullAt.entries();
  #pausedKeys = this.#pauses.entries();

  /** Keys remembered. */
  get size(): number {
    return this.#fullAt.size;
  }

  /** Takes `cost` tokens and returns 0, or takes nothing and returns the milliseconds until it could. */
  take(key: string, cost: number, limit: Limit, now: number): number {
    if (this.#fullAt.size > FEW) this.#forgetIdle(now);
    const known = this.#fullAt.get(key);
    const fullAt = (known === undefined || known < now ? now : known) + cost * limit.intervalMs;
    const dueAt = fullAt - limit.burstMs;
    if (dueAt > now || this.#pauses.size > 0) {
      const waitMs = this.#untilDue(key, dueAt, now);
      if (waitMs > 0) return waitMs;
    }
    this.#fullAt.set(key, fullAt);
    return 0;
  }

  /** Milliseconds until `cost` tokens could be taken, also more than `burst`, one after the other. */
  waitFor(key: string, cost: number, limit: Limit, now: number): number {
    const fullAt = Math.max(this.#fullAt.get(key) ?? now, now) + cost * limit.intervalMs;
    return this.#untilDue(key, fullAt - limit.burstMs, now);
  }

  /** Milliseconds until all tokens of a key are back, if nobody takes any. */
  fullIn(key: string, now: number): number {
    return Math.max(0, (this.#fullAt.get(key) ?? now) - now);
  }

  /**
   * Gives back what was taken for nothing: of what `now` has refilled already, nothing, and of what a pause has swallowed, nothing.
   * All of it could make more than `burst + rate * t`.
   */
  refund(key: string, cost: number, limit: Limit, takenAt: number, now: number): void {
    const fullAt = this.#fullAt.get(key);
    const pause = this.#pauses.get(key);
    if (fullAt === undefined || (pause !== undefined && takenAt <= pause.since)) return;
    const worthMs = cost * limit.intervalMs - Math.max(0, now - takenAt);
    if (worthMs > 0) this.#fullAt.set(key, fullAt - worthMs);
  }

  /** Lets nothing through for `ms`; then there is one token at most, and more come at the rate. Never shortens a pause. */
  pause(key: string, ms: number, limit: Limit, now: number): void {
    const until = now + ms;
    if (!(until > (this.#pauses.get(key)?.until ?? now))) return;
    this.#pauses.set(key, { since: now, until, overAt: until + limit.burstMs });
    this.learn(key, Math.max(this.#fullAt.get(key) ?? now, until + limit.burstMs - limit.intervalMs), now);
  }

  /** Sets when the tokens of a key will all be back, as somebody who knows better says. */
  learn(key: string, fullAt: number, now: number): void {
    if (this.#fullAt.size > FEW) this.#forgetIdle(now);
    this.#fullAt.set(key, fullAt);
  }

  #untilDue(key: string, due: number, now: number): number {
    const dueAt = this.#pauses.size === 0 ? due : Math.max(due, this.#pausedUntil(key, now));
    if (dueAt <= now) return 0;
    const waitMs = dueAt - now;
    return waitMs > ROUNDING_MS && waitMs > now * ROUNDING ? waitMs : 0;
  }

  #pausedUntil(key: string, now: number): number {
    this.#forgetPauses(now);
    return this.#pauses.get(key)?.until ?? now;
  }

  #forgetIdle(now: number): void {
    for (let looks = 0; looks < LOOKS; looks += 1) {
      const { done, value } = this.#keys.next();
      if (done === true) {
        this.#keys = this.#fullAt.entries();
        return;
      }
      if (value[1] <= now) this.#fullAt.delete(value[0]);
    }
  }

  #forgetPauses(now: number): void {
    const { done, value } = this.#pausedKeys.next();
    if (done === true) this.#pausedKeys = this.#pauses.entries();
    else if (value[1].overAt <= now) this.#pauses.delete(value[0]);
  }
}
