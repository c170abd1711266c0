import type { Message } from "./proxy-messages.js";

/** The way to one host. */
export interface HostChannel {
  send(message: Message): Promise<void>;
  onmessage: ((message: Message) => void) | undefined;
  /** The host has left. */
  onclose: ((loss?: { readonly reason: string; readonly exitCode: number }) => void) | undefined;
  /** Whether the host keeps up with what is sent to it. */
  onflow: ((isFree: boolean) => void) | undefined;
  /** Stops and goes on reading what the host says, where that is possible. */
  flow(isFree: boolean): void;
  close(): Promise<void>;
}
