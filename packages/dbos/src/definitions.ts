import type { SagaDefinition } from "@mcp-tx/saga";
import {
  argumentsProblem,
  hashOf,
  type Interpretation,
  preflight,
  refuseProblems,
  type Tools,
  tell,
  toolsFrom,
} from "@mcp-tx/saga/engine";
import type { Settings } from "./options.js";

/** The definitions of a process, and the tools that they are checked against. */
export class Definitions {
  readonly #byHash = new Map<string, SagaDefinition>();
  readonly #settings: Settings;
  #tools: Promise<Tools | undefined> | undefined;

  /** @throws SagaDefinitionError for one that cannot be run */
  constructor(settings: Settings) {
    this.#settings = settings;
    for (const definition of settings.sagas) {
      this.#check(definition, undefined);
      this.#byHash.set(hashOf(definition), definition);
    }
  }

  find(hash: string): SagaDefinition | undefined {
    return this.#byHash.get(hash);
  }

  /** @throws SagaDefinitionError for one that does not fit the tools, and what the source of the tools throws */
  async preflight(definition: SagaDefinition): Promise<void> {
    this.#check(definition, await this.#known());
  }

  /** What looks at resolved arguments. A saga that is carried on does not depend on whether the list of tools can be had. */
  async argumentsCheck(): Promise<Interpretation["checkArguments"]> {
    const tools = await this.#known().catch(() => undefined);
    return tools && ((tool, args) => argumentsProblem(args, tools.get(tool)?.inputSchema));
  }

  #check(definition: SagaDefinition, tools: Tools | undefined): void {
    const found = preflight(definition, tools);
    refuseProblems(definition, found);
    for (const message of found.warnings) {
      tell(this.#settings.onEvent, "saga.warning", { saga: definition.name, message });
    }
  }

  #known(): Promise<Tools | undefined> {
    this.#tools ??= toolsFrom(this.#settings.tools).catch((error: unknown) => {
      // Asked again next time.
      this.#tools = undefined;
      throw error;
    });
    return this.#tools;
  }
}
