import type { CallOptions, PinnedRecord } from "@mcp-tx/core";

type Pinned = NonNullable<CallOptions["pinned"]>;

/** Those who want the record of one run to stay until they let it go. */
export class Pins {
  #isWanted = false;
  #untold: Pinned[] = [];

  /** Whether anybody has asked so far, told by now or not. */
  get isWanted(): boolean {
    return this.#isWanted;
  }

  /** Whether somebody has not been told yet. */
  get isOwed(): boolean {
    return this.#untold.length > 0;
  }

  add(pinned: CallOptions["pinned"]): void {
    if (pinned === undefined) return;
    this.#isWanted = true;
    this.#untold.push(pinned);
  }

  /** Tells those that have not been told yet; where there is no record, there is nothing to tell. */
  tell(record: PinnedRecord | undefined): void {
    for (const pinned of this.#untold.splice(0)) {
      if (record !== undefined) tellOne(pinned, record);
    }
  }
}

/** Whatever it throws changes nothing, also later. */
function tellOne(pinned: Pinned, record: PinnedRecord): void {
  new Promise((resolve) => {
    resolve(pinned(record));
  }).catch(() => undefined);
}
