/** A signal that nobody aborts, and the number of abort listeners on it. */
export interface CountingSignal {
  readonly signal: AbortSignal;
  readonly listeners: number;
}

/** Makes a real signal that keeps count of its listeners, in any runtime. */
export function countingSignal(): CountingSignal {
  const { signal } = new AbortController();
  const active = new Set<unknown>();
  const { addEventListener, removeEventListener } = signal;

  Object.defineProperties(signal, {
    addEventListener: {
      value(...[type, listener, options]: Parameters<AbortSignal["addEventListener"]>) {
        active.add(listener);
        const until = typeof options === "object" ? options.signal : undefined;
        until?.addEventListener("abort", () => active.delete(listener), { once: true });
        addEventListener.call(signal, type, listener, options);
      },
    },
    removeEventListener: {
      value(...[type, listener, options]: Parameters<AbortSignal["removeEventListener"]>) {
        active.delete(listener);
        removeEventListener.call(signal, type, listener, options);
      },
    },
  });
  return {
    signal,
    get listeners() {
      return active.size;
    },
  };
}
