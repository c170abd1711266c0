import { createWindow, type Window, type WindowSettings } from "./window.js";

/** State of a circuit. `"isolated"` is an operator's doing and stays until `reset`. */
export type CircuitState = "closed" | "open" | "half-open" | "isolated";

/** What all circuits of one breaker share. */
export interface CircuitSettings {
  readonly consecutiveFailures: number;
  readonly recoveryTimeoutMs: number | ((opening: number) => number);
  readonly maxRetryAfterMs: number;
  readonly window: WindowSettings | undefined;
  readonly probes: number;
  readonly maxWaitMs: number;
  readonly ramp: number;
}

/** Open time where the user's function gives none. */
export const DEFAULT_RECOVERY_MS = 60_000;

/** How one passage through a circuit stands. While it is a probe or a ramp call, it is its own lease of a slot. */
export class Admission {
  /** Whether its gate was asked; a handler that asks no gates is judged as it entered. */
  isAsked = false;
  /** When its slot is free again, whatever becomes of it. */
  leaseEnd: number = Infinity;

  constructor(
    /** Its outcome counts in this generation of the circuit only. */
    public generation: number,
    public startedAt: number,
  ) {}
}

/** The state machine of one key, over `now`. Every transition starts a new generation. */
export class Circuit {
  /** Closed and past the ramp: everybody may pass, which is all that the common path has to look at. */
  isFree = true;
  state: CircuitState = "closed";
  generation = 0;
  consecutiveFailures = 0;
  /** Openings since it was last closed. */
  openings = 0;
  openUntil = 0;
  /** Whether the registry let it go: calls that still hold this circuit have to look their key up again. */
  isEvicted = false;
  /** The registry's: which list it is in, and its neighbours there. */
  isListedAsTripped = false;
  older: Circuit | undefined;
  newer: Circuit | undefined;
  readonly #settings: CircuitSettings;
  /** Only where slots are limited: in half-open and during the ramp. Oldest lease first. */
  #leases: Set<Admission> | undefined;
  /** Calls that succeeded among those. */
  #succeeded = 0;
  #window: Window | undefined;

  constructor(
    settings: CircuitSettings,
    readonly server: string | undefined,
    /** The tool, or the whole key where the user makes keys. */
    readonly name: string,
  ) {
    this.#settings = settings;
  }

  /** Whether a success cannot change the state, whatever the time is. */
  get isCalm(): boolean {
    if (!this.isFree) return false;
    return this.#window === undefined || this.#window.failures + this.#window.slow === 0;
  }

  /** The state as time has made it. */
  stateAt(now: number): CircuitState {
    return this.state === "open" && now >= this.openUntil ? "half-open" : this.state;
  }

  /** Milliseconds for which it stays open; `undefined` when it is not open. */
  openForMs(now: number): number | undefined {
    return this.state === "open" ? Math.max(0, this.openUntil - now) : undefined;
  }

  /** Whether a call that comes now may pass. Takes no slot. */
  lets(now: number): boolean {
    if (this.isFree) return true;
    if (this.state === "open" && now >= this.openUntil) this.#halfOpen();
    return this.#leases !== undefined && this.#hasSlot(this.#leases, now);
  }

  /** Lets a call go that is about to be sent, taking a slot where they are limited; `false`: it must not go. */
  admit(admission: Admission, now: number): boolean {
    const isHeld = this.#leases?.delete(admission) === true;
    if (!isHeld && !this.lets(now)) return false;
    this.admitFreely(admission, now);
    if (this.#leases === undefined) return true;
    admission.leaseEnd = now + this.#settings.maxWaitMs;
    this.#leases.add(admission);
    return true;
  }

  /** Lets a call go where there are no slots. */
  admitFreely(admission: Admission, now: number): void {
    admission.isAsked = true;
    admission.generation = this.generation;
    admission.startedAt = now;
    admission.leaseEnd = Infinity;
  }

  /** A call ended, and its outcome says nothing: gives its slot back. */
  release(admission: Admission): void {
    this.#leases?.delete(admission);
  }

  /** A call ended with an outcome that counts, if it began in this generation and its lease is not over. */
  record(admission: Admission, failed: boolean, now: number, retryAfterMs?: number): void {
    if (admission.generation !== this.generation) return;
    if (!this.isFree && !this.#settles(admission, now)) return;
    // After the ramp there are no slots any more, but a lease that is over stays over.
    if (now >= admission.leaseEnd) return;
    const { window } = this.#settings;
    const isSlow = window !== undefined && now - admission.startedAt > window.slowCallMs;
    if (this.state === "half-open") this.#recordProbe(failed || isSlow, now, retryAfterMs);
    else this.#recordCall(failed, isSlow, now, retryAfterMs);
  }

  /**
   * What {@link record} comes to for a success, not slow and without a lease, while the circuit {@link isCalm}: nothing can open
   * it, so no rate is worked out.
   */
  recordCalm(admission: Admission, now: number): void {
    if (admission.generation !== this.generation) return;
    this.consecutiveFailures = 0;
    const { window } = this.#settings;
    if (window !== undefined) this.#windowOf(window).record(false, false, now);
  }

  #recordCall(failed: boolean, isSlow: boolean, now: number, retryAfterMs: number | undefined): void {
    const { window, consecutiveFailures } = this.#settings;
    this.consecutiveFailures = failed ? this.consecutiveFailures + 1 : 0;
    const isTripped = window !== undefined && this.#exceedsRate(window, failed, isSlow, now);
    if (isTripped || this.consecutiveFailures >= consecutiveFailures) this.open(now, retryAfterMs);
    else if (this.#leases !== undefined && !failed) this.#climb();
  }

  isolate(): void {
    this.#enter("isolated");
  }

  /** Closed as if nothing had happened. */
  reset(): void {
    this.#enter("closed");
    this.openings = 0;
    this.isFree = true;
  }

  /** Takes it out of use: nothing that still holds it changes it any more. */
  evict(): void {
    this.reset();
    this.isFree = false;
    this.isEvicted = true;
  }

  open(now: number, retryAfterMs?: number): void {
    this.#enter("open");
    this.openings += 1;
    this.openUntil = now + this.#openTimeMs(retryAfterMs);
  }

  /** Puts a remembered state in place. */
  restore(state: "closed" | "open", openUntil: number, consecutiveFailures: number, openings: number): void {
    this.#enter(state);
    this.isFree = state === "closed";
    this.openUntil = openUntil;
    this.consecutiveFailures = consecutiveFailures;
    this.openings = openings;
  }

  /** Starts a new generation: whatever is under way counts no more. */
  #enter(state: CircuitState): void {
    this.state = state;
    this.generation += 1;
    this.isFree = false;
    this.consecutiveFailures = 0;
    this.#window = undefined;
    this.#leases = undefined;
    this.#succeeded = 0;
  }

  #halfOpen(): void {
    this.#enter("half-open");
    this.#leases = new Set();
  }

  #close(): void {
    this.reset();
    if (this.#settings.ramp === 0) return;
    this.isFree = false;
    this.#leases = new Set();
  }

  #hasSlot(leases: Set<Admission>, now: number): boolean {
    for (const lease of leases) {
      if (now < lease.leaseEnd) break;
      leases.delete(lease);
    }
    const { probes } = this.#settings;
    return this.state === "half-open" ? leases.size + this.#succeeded < probes : leases.size < probes + this.#succeeded;
  }

  /** Gives the slot of a call back; `false` when it never had one, and gets none now. */
  #settles(admission: Admission, now: number): boolean {
    if (!admission.isAsked) {
      const { startedAt } = admission;
      if (!this.admit(admission, now)) return false;
      admission.startedAt = startedAt;
    }
    this.#leases?.delete(admission);
    return true;
  }

  #recordProbe(failed: boolean, now: number, retryAfterMs: number | undefined): void {
    this.#succeeded += 1;
    if (failed) this.open(now, retryAfterMs);
    else if (this.#succeeded >= this.#settings.probes) this.#close();
  }

  /** One more success of the ramp. */
  #climb(): void {
    this.#succeeded += 1;
    if (this.#succeeded < this.#settings.ramp) return;
    this.#leases = undefined;
    this.isFree = true;
  }

  /** Books a call in the window; whether one of its rates opens the circuit. */
  #exceedsRate(settings: WindowSettings, failed: boolean, isSlow: boolean, now: number): boolean {
    const window = this.#windowOf(settings);
    window.record(failed, isSlow, now);
    const { calls, failures, slow } = window;
    if (failures + slow === 0 || calls < settings.minimumCalls) return false;
    // The quotient, not the product: 0.07 * 100 is more than 7.
    return failures / calls >= settings.failureRate || slow / calls >= settings.slowCallRate;
  }

  #windowOf(settings: WindowSettings): Window {
    this.#window ??= createWindow(settings);
    return this.#window;
  }

  #openTimeMs(retryAfterMs = 0): number {
    const asked = Math.min(retryAfterMs, this.#settings.maxRetryAfterMs);
    if (asked > 0) return asked;
    const { recoveryTimeoutMs } = this.#settings;
    return typeof recoveryTimeoutMs === "number" ? recoveryTimeoutMs : ownTime(recoveryTimeoutMs, this.openings);
  }
}

/** The user's open time; what is no usable number, or throws, gives the default. */
function ownTime(timeOf: (opening: number) => number, opening: number): number {
  try {
    const ms: unknown = timeOf(opening);
    return typeof ms === "number" && ms > 0 && ms !== Infinity ? ms : DEFAULT_RECOVERY_MS;
  } catch {
    return DEFAULT_RECOVERY_MS;
  }
}
