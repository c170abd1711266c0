import { type IdempotencyStoreHarness, type Proof, StoreBench } from "./idempotency-store-bench.js";
import { races } from "./idempotency-store-races.js";
import { transitions } from "./idempotency-store-transitions.js";
import { values } from "./idempotency-store-values.js";
import { walks } from "./idempotency-store-walk.js";
import type { ContractCase } from "./middleware-contract.js";

export type { IdempotencyStoreHarness } from "./idempotency-store-bench.js";

/** Options of {@link idempotencyStoreContract}. */
export interface IdempotencyStoreContractOptions {
  /**
   * Contenders in each race. At least 2.
   * @defaultValue 20
   */
  readonly concurrency?: number | undefined;
}

type Factory = () => IdempotencyStoreHarness | Promise<IdempotencyStoreHarness>;

async function prove(proof: Proof, factory: Factory, concurrency: number): Promise<void> {
  const harness = await factory();
  try {
    await proof(new StoreBench(harness, concurrency));
  } finally {
    await harness.close?.();
  }
}

/**
 * The conformance suite of every `IdempotencyStore`, ours or a third party's. Any test runner can run the cases.
 *
 * @remarks
 * Each case has an empty store of its own and waits a second or less on the store's clock, all waits together, but for the walks,
 * which wait some dozens of times. Nothing depends on how fast the store is: what is expected to stand has minutes left.
 *
 * @example
 * ```ts
 * const time = virtualTime();
 * const cases = idempotencyStoreContract(() => ({ store: myStore(time.runtime), advance: time.advance }));
 * for (const { name, run } of cases) test(name, run);
 * ```
 *
 * @param factory - makes an empty store for one case
 */
export function idempotencyStoreContract(
  factory: () => IdempotencyStoreHarness | Promise<IdempotencyStoreHarness>,
  { concurrency = 20 }: IdempotencyStoreContractOptions = {},
): readonly ContractCase[] {
  if (typeof factory !== "function") {
    throw new TypeError("idempotencyStoreContract: factory must be a function () => { store, advance }");
  }
  if (!Number.isInteger(concurrency) || concurrency < 2) {
    throw new RangeError(`idempotencyStoreContract: concurrency must be an integer >= 2, got ${String(concurrency)}`);
  }
  const proofs = { ...values, ...transitions, ...races, ...walks };
  return Object.entries(proofs).map(([name, proof]) => ({ name, run: () => prove(proof, factory, concurrency) }));
}
