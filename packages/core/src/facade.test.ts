import { expect, test } from "vitest";
import { facade } from "./facade.js";

class Transport {
  #sent = 0;
  onmessage: ((message: string) => void) | undefined;
  sessionId = "s";
  send(): number {
    this.#sent += 1;
    return this.#sent;
  }
  close(): string {
    return `closed after ${this.#sent}`;
  }
}

function faced(callbacks?: object): { readonly target: Transport; readonly shown: Transport } {
  const target = new Transport();
  return { target, shown: facade(target, { send: () => -1 }, callbacks) as Transport };
}

test("shows its members, and binds the target's methods so that private fields work", () => {
  const { target, shown } = faced();
  expect(shown.send()).toBe(-1);
  target.send();
  const { close } = shown;
  expect(close()).toBe("closed after 1");
  expect(shown.close).toBe(shown.close);
  expect(shown).toBeInstanceOf(Transport);
});

test("follows a method that is replaced on the target", () => {
  const { target, shown } = faced();
  expect(shown.close()).toBe("closed after 0");
  target.close = () => "replaced";
  expect(shown.close()).toBe("replaced");
});

test("patches its own member and leaves the target's alone", () => {
  const { target, shown } = faced();
  const { send } = shown;
  shown.send = () => send() - 1;
  expect(shown.send()).toBe(-2);
  expect(target.send()).toBe(1);
});

test("keeps callbacks beside the target", () => {
  const callbacks: { onmessage?: (message: string) => void } = {};
  const { target, shown } = faced(callbacks);
  const listener = (): void => undefined;
  shown.onmessage = listener;
  expect([callbacks.onmessage, shown.onmessage, target.onmessage]).toEqual([listener, listener, undefined]);
  shown.sessionId = "t";
  expect(target.sessionId).toBe("t");
});

test("gives back a callback as it was set, not bound", () => {
  const { target, shown } = faced();
  const listener = (): void => undefined;
  shown.onmessage = listener;
  expect(shown.onmessage).toBe(listener);
  expect(target.onmessage).toBe(listener);
});
