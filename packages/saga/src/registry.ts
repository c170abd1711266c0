import type { SagaDefinition } from "./definition.js";
import { SagaDefinitionError } from "./errors.js";
import { hashOf } from "./structure.js";

/** A definition that a runner knows. */
export interface Registered {
  readonly definition: SagaDefinition;
  readonly hash: string;
}

/** The definitions that a runner may meet in its store, several versions of each. */
export class Registry {
  readonly #byHash = new Map<string, Registered>();
  readonly #known = new WeakMap<SagaDefinition, Registered>();

  /** @throws SagaDefinitionError for a saga without steps, TypeError for what is no definition */
  add(definition: SagaDefinition): Registered {
    const known = this.#known.get(definition);
    if (known !== undefined) return known;
    if (typeof definition?.name !== "string" || !Array.isArray(definition.nodes)) {
      throw new TypeError("createSagaRunner: a saga must be made by defineSaga()");
    }
    if (definition.nodes.length === 0) throw new SagaDefinitionError(definition.name, ["it has no steps"]);
    const registered = { definition, hash: hashOf(definition) };
    this.#known.set(definition, registered);
    // The same structure may carry newer functions: the latest counts.
    this.#byHash.set(registered.hash, registered);
    return registered;
  }

  find(hash: string): Registered | undefined {
    return this.#byHash.get(hash);
  }
}
