/** What is left of a limit. Nothing is reserved by asking: it may be gone when the call is made. */
export interface LimitQuota {
  /** Tokens of the full limit: `burst`. */
  readonly limit: number;
  /** Whole tokens that may be taken at once, now. */
  readonly remaining: number;
  /** Milliseconds in which all tokens come back: `burst / rate`. */
  readonly windowMs: number;
  /** Milliseconds until all tokens are back, if nobody takes any. */
  readonly resetMs: number;
}
