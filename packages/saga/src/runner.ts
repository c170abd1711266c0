import { number, type OptionReader } from "@mcp-tx/core/options";
import type { SagaRecord } from "@mcp-tx/core/stores";
import type { SagaDefinition } from "./definition.js";
import { SagaDefinitionError } from "./errors.js";
import { tell } from "./events.js";
import { IMPERATIVE, Imperative, PROCESS_GONE } from "./imperative.js";
import { interpret } from "./interpreter.js";
import { canonical, serialise } from "./json.js";
import { checkKeys } from "./keys.js";
import type { SagaOutcome } from "./outcome.js";
import { type Carry, checkId, Owner, outcomeIn } from "./owner.js";
import { argumentsProblem, preflight, refuseProblems, type ToolSource, type Tools, toolsFrom } from "./preflight.js";
import { type Registered, Registry } from "./registry.js";
import { reopening } from "./resume.js";
import type {
  RecoverOptions,
  SagaInfo,
  SagaListOptions,
  SagaRunner,
  SagaRunnerOptions,
  SagaRunOptions,
} from "./runner-types.js";
import { readSettings, type Settings } from "./settings.js";
import { type SagaTimeline, timelineOf } from "./timeline.js";

const OWNER = "createSagaRunner";
const PAGE = 100;

/** Undoes what a process left of a saga that has no definition. */
export const undoOnly: Carry = (journal, terms) => new Imperative(journal.name, journal, terms).undo(PROCESS_GONE);

class Runner implements SagaRunner {
  readonly #owner: Owner;
  readonly #registry = new Registry();
  readonly #toolSource: ToolSource | undefined;
  #tools: Promise<Tools | undefined> | undefined;

  constructor(settings: Settings, sagas: readonly SagaDefinition[], tools: ToolSource | undefined) {
    this.#owner = new Owner(settings);
    this.#toolSource = tools;
    for (const definition of sagas) this.#registry.add(definition);
  }

  async run<Input, Results>(
    given: SagaDefinition<Input, Results>,
    input: Input,
    options: SagaRunOptions = {},
  ): Promise<SagaOutcome<Results>> {
    const { signal, timeoutMs } = options;
    const id = checkId(OWNER, options.id ?? crypto.randomUUID());
    number({ min: 0, above: true, infinite: true }, undefined)(timeoutMs, `${OWNER}: timeoutMs`);
    const registered = this.#registry.add(given);
    const { definition, hash } = registered;
    checkKeys(definition, id);
    const text = canonical(serialise(input, "the input"));
    await this.#preflight(definition);
    const carry = this.#carryOf(registered);
    const wanted = { id, name: definition.name, definition: hash, input: text, signal, timeoutMs, carry };
    return (await this.#owner.run(wanted)) as SagaOutcome<Results>;
  }

  async #preflight(definition: SagaDefinition): Promise<void> {
    const found = preflight(definition, await this.#knownTools());
    refuseProblems(definition, found);
    const { onEvent } = this.#owner.settings;
    for (const message of found.warnings) tell(onEvent, "saga.warning", { saga: definition.name, message });
  }

  #knownTools(): Promise<Tools | undefined> {
    this.#tools ??= toolsFrom(this.#toolSource).catch((error: unknown) => {
      // Asked again next time.
      this.#tools = undefined;
      throw error;
    });
    return this.#tools;
  }

  #carryOf({ definition }: Registered): Carry {
    return async (port, terms) => {
      const tools = await this.#knownTools();
      const check = (tool: string, args: Readonly<Record<string, unknown>>): string | undefined =>
        argumentsProblem(args, tools?.get(tool)?.inputSchema);
      return interpret(definition, { ...terms, port, checkArguments: check });
    };
  }

  async recover({ concurrency, signal }: RecoverOptions = {}): Promise<readonly SagaOutcome[]> {
    const most = number({ min: 1, integer: true }, 16)(concurrency, `${OWNER}: concurrency`);
    const outcomes: SagaOutcome[] = [];
    const errors: unknown[] = [];
    const sagas = this.#unowned(signal);
    const work = async (): Promise<void> => {
      for (let next = await sagas.next(); next.done !== true; next = await sagas.next()) {
        try {
          const outcome = await this.#owner.takeOver(next.value, ["running"], this.#carryFor(next.value));
          if (outcome !== undefined) outcomes.push(outcome);
        } catch (error) {
          errors.push(error);
        }
      }
    };
    const ended = await Promise.allSettled([...Array.from({ length: most }, work), this.#forgetOld()]);
    for (const worker of ended) if (worker.status === "rejected") errors.push(worker.reason);
    if (errors.length === 0) return outcomes;
    throw new AggregateError(errors, `${errors.length} of the unfinished sagas could not be carried on`);
  }

  /** Makes room for new sagas. */
  async #forgetOld(): Promise<void> {
    const { store, retentionMs } = this.#owner.settings;
    if (retentionMs === Infinity) return;
    let forgotten = PAGE;
    while (forgotten === PAGE && !this.#owner.isClosing) forgotten = await store.sweep(PAGE);
  }

  /** The sagas that nobody works on, page by page; shared by those who carry them on. */
  async *#unowned(signal: AbortSignal | undefined): AsyncGenerator<SagaRecord, undefined> {
    let after: string | undefined;
    for (;;) {
      const page = await this.#owner.settings.store.list({ status: "running", unowned: true, after, limit: PAGE });
      for (const saga of page) {
        if (signal?.aborted === true || this.#owner.isClosing) return undefined;
        yield saga;
      }
      after = page.at(-1)?.id;
      if (page.length < PAGE) return undefined;
    }
  }

  /** @throws SagaDefinitionError for a saga whose definition this runner does not know */
  #carryFor({ id, name, definition }: SagaRecord): Carry {
    if (definition === IMPERATIVE) return undoOnly;
    const registered = this.#registry.find(definition);
    if (registered !== undefined) return this.#carryOf(registered);
    throw new SagaDefinitionError(name, [
      `saga "${id}" is of a definition that this runner does not know; give createSagaRunner() the version of "${name}" that it was begun with in sagas`,
    ]);
  }

  async get(id: string): Promise<SagaInfo | undefined> {
    const saga = await this.#owner.settings.store.get(checkId(OWNER, id));
    return saga === undefined ? undefined : this.#info(saga);
  }

  async list({ status, name, after, limit }: SagaListOptions = {}): Promise<readonly SagaInfo[]> {
    const most = number({ min: 1, integer: true }, PAGE)(limit, `${OWNER}: limit`);
    const sagas = await this.#owner.settings.store.list({ status, name, after, limit: most });
    return sagas.map((saga) => this.#info(saga));
  }

  #info(saga: SagaRecord): SagaInfo {
    const { id, name, status, createdAt, updatedAt, leaseUntil, definition } = saga;
    return {
      id,
      name,
      status,
      input: JSON.parse(saga.input),
      ...(saga.outcome !== undefined && { outcome: outcomeIn(saga) }),
      isKnown: definition === IMPERATIVE || this.#registry.find(definition) !== undefined,
      createdAt,
      updatedAt,
      leaseUntil,
    };
  }

  async resume(id: string): Promise<SagaOutcome> {
    const saga = await this.#existing(id);
    if (saga.status !== "stuck") {
      throw new TypeError(`${OWNER}: saga "${id}" is ${saga.status}, and only a stuck one is resumed`);
    }
    const carry = this.#carryFor(saga);
    const outcome = await this.#owner.takeOver(saga, ["stuck"], async (journal, terms) => {
      await journal.write(reopening(journal.state));
      return carry(journal, terms);
    });
    if (outcome === undefined) throw await this.#owner.inProgress(id);
    return outcome;
  }

  async abandon(id: string): Promise<SagaInfo> {
    const saga = await this.#existing(id);
    if (saga.status !== "stuck" && saga.status !== "running") {
      throw new TypeError(`${OWNER}: saga "${id}" is ${saga.status}: it has ended already`);
    }
    await this.#owner.abandon(saga);
    return this.#info(await this.#existing(id));
  }

  async #existing(id: string): Promise<SagaRecord> {
    const saga = await this.#owner.settings.store.get(checkId(OWNER, id));
    if (saga === undefined) throw new TypeError(`${OWNER}: there is no saga "${id}"`);
    return saga;
  }

  async timeline(id: string): Promise<SagaTimeline | undefined> {
    const { store } = this.#owner.settings;
    const saga = await store.get(checkId(OWNER, id));
    return saga === undefined ? undefined : timelineOf(saga, await store.entries(id));
  }

  close(): Promise<void> {
    return this.#owner.close();
  }
}

const definitions: OptionReader<readonly SagaDefinition[]> = (value, path) => {
  if (value === undefined) return [];
  if (Array.isArray(value)) return value as readonly SagaDefinition[];
  throw new TypeError(`${path} must be an array of definitions`);
};

const toolSource: OptionReader<ToolSource | undefined> = (value, path) => {
  if (value === undefined || Array.isArray(value) || typeof value === "function") return value as ToolSource;
  throw new TypeError(`${path} must be an array of tools or a function that gives it`);
};

/**
 * Makes a runner of sagas: every step is done, or undone, or reported, through any crash.
 *
 * @throws TypeError or RangeError naming the option
 */
export function createSagaRunner(options: SagaRunnerOptions): SagaRunner {
  const { settings, rest } = readSettings(OWNER, options, { sagas: definitions, tools: toolSource });
  return new Runner(settings, rest.sagas, rest.tools);
}
