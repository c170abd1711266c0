/** Longest time that one attempt may take in the scenes that bound it. */
export const ATTEMPT_TIMEOUT_MS = 400;
/** How long the slow tools take: well beyond the attempt timeout. */
export const SLOW_MS = 900;
/** The server's hint when it throttles a call. */
export const ASK_AGAIN_MS = 80;
/** A hint that no caller waits for. */
export const COME_BACK_TOMORROW_MS = 86_400_000;
