import { DBOS, DBOSWorkflowConflictError } from "@dbos-inc/dbos-sdk";
import type { SagaDefinition, SagaOutcome } from "@mcp-tx/saga";
import { interpret, tell } from "@mcp-tx/saga/engine";
import type { Definitions } from "./definitions.js";
import type { Settings } from "./options.js";
import { DbosPort } from "./port.js";
import { INTERPRETER_VERSION, keepersOf, misconfiguration } from "./safeguards.js";
import type { Ticket } from "./view.js";

/** A workflow of DBOS that is a saga. */
export type SagaWorkflow = (ticket: Ticket) => Promise<SagaOutcome>;

/** Registers the one workflow that all sagas are. Its name holds the version, so that no other interpreter carries its history on. */
export function registerSagaWorkflow(settings: Settings, definitions: Definitions): SagaWorkflow {
  const { sagas: _sagas, tools: _tools, name, queue: _queue, trustCaller: _trust, singleProcess, ...terms } = settings;
  const { caller, runtime, onEvent } = terms;
  const keepers = keepersOf(caller);

  /**
   * Leaves the saga as it is, for a process that can carry it on. DBOS takes the error for the loss of the workflow to another process:
   * it stays pending, and the next launch takes it up again. Any other error would be the saga's end, and nothing would be undone.
   */
  function leave({ id, saga }: Ticket, why: string): never {
    const message = `saga "${id}" is left alone: ${why}`;
    DBOS.logger.error(message);
    tell(onEvent, "saga.warning", { saga, message });
    throw new DBOSWorkflowConflictError(id);
  }

  function definitionFor(ticket: Ticket): SagaDefinition {
    const problem = misconfiguration(singleProcess);
    if (problem !== undefined) leave(ticket, problem);
    const definition = definitions.find(ticket.definition);
    if (definition !== undefined) return definition;
    return leave(
      ticket,
      `this process does not know its definition; give createDbosSagas() the version of "${ticket.saga}" that it was begun with ` +
        "in sagas, and launch again",
    );
  }

  async function saga(ticket: Ticket): Promise<SagaOutcome> {
    const definition = definitionFor(ticket);
    const { id, deadlineAt } = ticket;
    const about = { saga: definition.name, id };
    const port = new DbosPort();
    try {
      const recovered = await port.begin();
      tell(onEvent, "saga.start", { ...about, recovered, at: runtime.wallNow() });
      const checkArguments = await definitions.argumentsCheck();
      const pins = keepers.length > 0;
      const input = JSON.parse(ticket.input) as unknown;
      const outcome = await interpret(definition, { ...terms, id, input, deadlineAt, port, pins, checkArguments });
      if (outcome.status !== "stuck" && port.pins.length > 0) await port.letGo(keepers);
      tell(onEvent, "saga.end", { ...about, status: outcome.status, outcome, at: runtime.wallNow() });
      // As JSON has it: whoever asks later gets the same.
      return JSON.parse(JSON.stringify(outcome)) as SagaOutcome;
    } catch (error) {
      tell(onEvent, "saga.interrupted", { ...about, error, at: runtime.wallNow() });
      throw error;
    }
  }

  return DBOS.registerWorkflow(saga, { name: `${name}/${INTERPRETER_VERSION}` });
}
