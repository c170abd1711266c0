import type { ContractCase } from "./middleware-contract.js";
import { SagaBench, type SagaProof, type SagaStoreHarness } from "./saga-store-bench.js";
import { lists } from "./saga-store-lists.js";
import { ownership } from "./saga-store-ownership.js";
import { races } from "./saga-store-races.js";
import { values } from "./saga-store-values.js";
import { walks } from "./saga-store-walk.js";

export type { SagaStoreHarness } from "./saga-store-bench.js";

/** Options of {@link sagaStoreContract}. */
export interface SagaStoreContractOptions {
  /**
   * Contenders in each race. At least 2.
   * @defaultValue 50
   */
  readonly concurrency?: number | undefined;
}

type Factory = () => SagaStoreHarness | Promise<SagaStoreHarness>;

async function prove(proof: SagaProof, factory: Factory, concurrency: number): Promise<void> {
  const harness = await factory();
  try {
    await proof(new SagaBench(harness, concurrency));
  } finally {
    await harness.close?.();
  }
}

/**
 * The conformance suite of every `SagaStore`, ours or a third party's. Any test runner can run the cases.
 *
 * @remarks
 * Each case has an empty store of its own and waits a second or less on the store's clock, all waits together, but for the walks,
 * which wait some dozens of times. Nothing depends on how fast the store is: what is expected to stand has minutes left.
 *
 * @example
 * ```ts
 * const time = virtualTime();
 * const cases = sagaStoreContract(() => ({ store: myStore(time.runtime), advance: time.advance }));
 * for (const { name, run } of cases) test(name, run);
 * ```
 *
 * @param factory - makes an empty store for one case
 */
export function sagaStoreContract(
  factory: () => SagaStoreHarness | Promise<SagaStoreHarness>,
  { concurrency = 50 }: SagaStoreContractOptions = {},
): readonly ContractCase[] {
  if (typeof factory !== "function") {
    throw new TypeError("sagaStoreContract: factory must be a function () => { store, advance }");
  }
  if (!Number.isInteger(concurrency) || concurrency < 2) {
    throw new RangeError(`sagaStoreContract: concurrency must be an integer >= 2, got ${String(concurrency)}`);
  }
  const proofs = { ...values, ...ownership, ...lists, ...races, ...walks };
  return Object.entries(proofs).map(([name, proof]) => ({ name, run: () => prove(proof, factory, concurrency) }));
}
