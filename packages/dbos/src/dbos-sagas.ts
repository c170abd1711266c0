import { DBOS, Error as DbosErrors, type WorkflowHandle, type WorkflowStatus } from "@dbos-inc/dbos-sdk";
import { SagaConflictError, type SagaDefinition, SagaDefinitionError, type SagaOutcome } from "@mcp-tx/saga";
import { canonical, checkKeys, hashOf, serialise } from "@mcp-tx/saga/engine";
import { Definitions } from "./definitions.js";
import {
  checkId,
  checkLimit,
  checkTimeout,
  type DbosSagasOptions,
  OWNER,
  readSettings,
  type Settings,
} from "./options.js";
import { checkCaller, misconfiguration } from "./safeguards.js";
import { type DbosSagaInfo, type DbosSagaStatus, infoOf, type Ticket, ticketOf, WORKFLOW_STATUSES } from "./view.js";
import { registerSagaWorkflow, type SagaWorkflow } from "./workflow.js";

/** Options of {@link DbosSagas.run} and {@link DbosSagas.start}. */
export interface DbosSagaRunOptions {
  /**
   * Names the saga, and is the id of its workflow: the same id is the same saga, whichever process asks for it. From 1 to 256 characters.
   * @defaultValue a random UUID
   */
  readonly id?: string | undefined;
  /**
   * Milliseconds after which the saga stops by itself and is undone, unless it is past its point of no return. Greater than 0. DBOS's
   * own timeouts are another thing: they cancel the workflow, and nothing is undone.
   */
  readonly timeoutMs?: number | undefined;
}

/** Which sagas {@link DbosSagas.list} gives. */
export interface DbosSagaListOptions {
  readonly status?: DbosSagaStatus | undefined;
  /** Name of the definition. */
  readonly name?: string | undefined;
  /** Who runs it, or ran it last. */
  readonly executorId?: string | undefined;
  /** Only those that were started since then, in milliseconds since the epoch. Spares a search for ended ones from looking at all. */
  readonly startedSince?: number | undefined;
  /** @defaultValue 100 */
  readonly limit?: number | undefined;
}

/** A saga that was started. */
export interface DbosSagaHandle<Results = unknown> {
  readonly id: string;
  /**
   * Waits until it has ended, in whichever process.
   *
   * @returns the outcome, also of a saga that was compensated or is stuck
   * @throws DBOS's own error when DBOS does not carry it on any more: the saga is not over then, see {@link DbosSagas.resume}
   */
  outcome(): Promise<SagaOutcome<Results>>;
}

/** Sagas as workflows of DBOS. */
export interface DbosSagas {
  /**
   * Starts a saga and waits for its end. The same id again joins the saga that there is.
   *
   * @throws what {@link DbosSagas.start} and {@link DbosSagaHandle.outcome} throw
   */
  run<Input, Results>(
    definition: SagaDefinition<Input, Results>,
    input: Input,
    options?: DbosSagaRunOptions,
  ): Promise<SagaOutcome<Results>>;
  /**
   * Starts a saga. Once it resolves, the saga survives this process.
   *
   * @throws SagaDefinitionError for a definition that is not among `sagas`; SagaConflictError for an id that is another saga's; TypeError
   *   when DBOS is configured so that sagas are not safe, or the input cannot be serialised
   */
  start<Input, Results>(
    definition: SagaDefinition<Input, Results>,
    input: Input,
    options?: DbosSagaRunOptions,
  ): Promise<DbosSagaHandle<Results>>;
  /** `undefined` for an id that there is no saga with. */
  get(id: string): Promise<DbosSagaInfo | undefined>;
  /** The latest first. */
  list(options?: DbosSagaListOptions): Promise<readonly DbosSagaInfo[]>;
  /**
   * Lets a halted saga go on where it was. Others go on by themselves, or are over: nothing is done for them.
   *
   * @throws TypeError when there is no such saga
   */
  resume(id: string): Promise<DbosSagaHandle>;
  /**
   * Takes over the unfinished sagas of a process that will not come back. What it may still do, if it lives after all, is refused by DBOS,
   * and its calls are recognised by their keys.
   *
   * @returns the ids of the sagas
   * @throws TypeError for this process's own executor id
   */
  takeOver(executorId: string): Promise<readonly string[]>;
}

const PAGE = 100;

function isWorkflowIdInUse(error: unknown): boolean {
  return DbosErrors.isWorkflowIDInUseError(error);
}

class Sagas implements DbosSagas {
  readonly #settings: Settings;
  readonly #definitions: Definitions;
  readonly #workflow: SagaWorkflow;

  constructor(settings: Settings) {
    this.#settings = settings;
    this.#definitions = new Definitions(settings);
    this.#workflow = registerSagaWorkflow(settings, this.#definitions);
  }

  async run<Input, Results>(
    definition: SagaDefinition<Input, Results>,
    input: Input,
    options?: DbosSagaRunOptions,
  ): Promise<SagaOutcome<Results>> {
    const handle = await this.start(definition, input, options);
    return handle.outcome();
  }

  async start<Input, Results>(
    definition: SagaDefinition<Input, Results>,
    input: Input,
    { id: givenId, timeoutMs }: DbosSagaRunOptions = {},
  ): Promise<DbosSagaHandle<Results>> {
    const most = checkTimeout(timeoutMs);
    const given = givenId === undefined ? undefined : checkId(givenId);
    const text = canonical(serialise(input, "the input"));
    const hash = await this.#hashOf(definition);
    const problem = misconfiguration(this.#settings.singleProcess);
    if (problem !== undefined) throw new TypeError(`${OWNER}: ${problem}`);
    // DBOS's own: the same again when it is a workflow that starts the saga, and is carried on.
    const id = given ?? (await DBOS.randomUUID());
    checkKeys(definition, id);
    const deadlineAt = this.#settings.runtime.wallNow() + most;
    const ticket: Ticket = {
      id,
      saga: definition.name,
      definition: hash,
      input: text,
      ...(deadlineAt !== Infinity && { deadlineAt }),
    };
    const handle = await this.#startOrJoin(ticket);
    // The outcome is of the definition whose hash the ticket has.
    return handleOf(handle as WorkflowHandle<SagaOutcome<Results>>);
  }

  /** @throws SagaDefinitionError for one that this process could not carry on, or that does not fit the tools */
  async #hashOf(definition: SagaDefinition<never, unknown>): Promise<string> {
    // A definition is one whatever its types, which only the compiler knows.
    const hash = hashOf(definition as SagaDefinition);
    const known = this.#definitions.find(hash);
    if (known !== undefined) {
      await this.#definitions.preflight(known);
      return hash;
    }
    throw new SagaDefinitionError(definition.name, [
      "it is not among the sagas of createDbosSagas(), so that no process could carry it on; add it there",
    ]);
  }

  async #startOrJoin(ticket: Ticket): Promise<WorkflowHandle<SagaOutcome>> {
    const { name, queue } = this.#settings;
    try {
      return await DBOS.startWorkflow(this.#workflow, {
        workflowID: ticket.id,
        workflowIDReusePolicy: "reject",
        workflowAttributes: { sagas: name, saga: ticket.saga },
        // A timeout of DBOS would cancel the workflow, and nothing would be undone.
        timeoutMS: null,
        ...(queue !== undefined && { queueName: queue }),
      })(ticket);
    } catch (error) {
      if (!isWorkflowIdInUse(error)) throw error;
      await this.#checkSame(ticket);
      return DBOS.retrieveWorkflow<SagaOutcome>(ticket.id);
    }
  }

  async #checkSame({ id, saga, definition, input }: Ticket): Promise<void> {
    const workflow = await this.#find(id);
    if (workflow === undefined) throw new SagaConflictError(id, "as another workflow of DBOS");
    const other = ticketOf(workflow);
    if (other.saga !== saga) throw new SagaConflictError(id, `as a saga "${other.saga}"`);
    if (other.definition !== definition) throw new SagaConflictError(id, `under another version of "${saga}"`);
    if (other.input !== input) throw new SagaConflictError(id, "with another input");
  }

  /** A workflow of ours, also one that another version of this package began. */
  async #find(id: string): Promise<WorkflowStatus | undefined> {
    const workflow = await DBOS.getWorkflowStatus(id);
    return workflow?.attributes?.["sagas"] === this.#settings.name ? workflow : undefined;
  }

  async get(id: string): Promise<DbosSagaInfo | undefined> {
    const workflow = await this.#find(checkId(id));
    return workflow && this.#infoOf(workflow);
  }

  #infoOf(workflow: WorkflowStatus): DbosSagaInfo {
    return infoOf(workflow, (definition) => this.#definitions.find(definition) !== undefined);
  }

  async list({ limit, ...which }: DbosSagaListOptions = {}): Promise<readonly DbosSagaInfo[]> {
    const most = checkLimit(limit);
    const found: DbosSagaInfo[] = [];
    for await (const info of this.#all(which)) {
      // DBOS does not tell how a saga ended from another that ended as well.
      if (which.status === undefined || info.status === which.status) found.push(info);
      if (found.length === most) break;
    }
    return found;
  }

  async *#all({
    status,
    name,
    executorId,
    startedSince,
  }: Omit<DbosSagaListOptions, "limit">): AsyncGenerator<DbosSagaInfo> {
    const attributes = { sagas: this.#settings.name, ...(name !== undefined && { saga: name }) };
    for (let offset = 0; ; offset += PAGE) {
      const page = await DBOS.listWorkflows({
        attributes,
        sortDesc: true,
        limit: PAGE,
        offset,
        ...(status !== undefined && { status: [...WORKFLOW_STATUSES[status]] }),
        ...(executorId !== undefined && { executorId }),
        ...(startedSince !== undefined && { startTime: new Date(startedSince).toISOString() }),
      });
      for (const workflow of page) yield this.#infoOf(workflow);
      if (page.length < PAGE) return;
    }
  }

  async resume(id: string): Promise<DbosSagaHandle> {
    const workflow = await this.#find(checkId(id));
    if (workflow === undefined) throw new TypeError(`${OWNER}: there is no saga "${id}"`);
    if (this.#infoOf(workflow).status === "halted") await this.#carryOn(workflow);
    return handleOf(DBOS.retrieveWorkflow<SagaOutcome>(id));
  }

  async #carryOn({ workflowID: id, status }: WorkflowStatus): Promise<void> {
    if (status !== "ERROR") {
      await DBOS.resumeWorkflow(id, this.#onQueue());
      return;
    }
    // What broke it is forgotten, and what was done before stays done.
    const steps = (await DBOS.listWorkflowSteps(id)) ?? [];
    const broken = steps.find(({ error }) => error !== null)?.functionID;
    const last = steps.at(-1)?.functionID ?? -1;
    await DBOS.rewindWorkflow(id, { startStep: broken ?? last + 1, ...this.#onQueue() });
  }

  #onQueue(): { queueName?: string } {
    const { queue } = this.#settings;
    return queue === undefined ? {} : { queueName: queue };
  }

  async takeOver(executorId: string): Promise<readonly string[]> {
    if (executorId === DBOS.executorID) {
      throw new TypeError(
        `${OWNER}: "${executorId}" is this process's own executor id; a launch carries on its sagas by itself`,
      );
    }
    const ids: string[] = [];
    for await (const { id, workflowStatus } of this.#all({ status: "running", executorId })) {
      // Those that wait on a queue are anybody's already.
      if (workflowStatus === "PENDING") ids.push(id);
    }
    if (ids.length > 0) await DBOS.resumeWorkflows(ids, this.#onQueue());
    return ids;
  }
}

function handleOf<Results>(handle: WorkflowHandle<SagaOutcome<Results>>): DbosSagaHandle<Results> {
  return { id: handle.workflowID, outcome: () => handle.getResult() };
}

/**
 * Makes sagas workflows of DBOS, which carries them on past the process and the machine. Call it before `DBOS.launch()`: launching
 * takes up what an earlier process left.
 *
 * @throws TypeError or RangeError naming the option, also for a caller whose calls are not recognised when they are repeated
 * @throws SagaDefinitionError for a definition that cannot be run
 */
export function createDbosSagas(options: DbosSagasOptions): DbosSagas {
  const settings = readSettings(options);
  checkCaller(settings.caller, settings.trustCaller);
  return new Sagas(settings);
}
