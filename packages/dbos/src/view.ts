import type { StatusString, WorkflowStatus } from "@dbos-inc/dbos-sdk";
import type { SagaOutcome } from "@mcp-tx/saga";

/** How a saga stands. `halted`: DBOS does not carry it on by itself, because it was cancelled, was begun too often, or broke. */
export type DbosSagaStatus = "running" | "halted" | SagaOutcome["status"];

/** What a workflow is started with. */
export interface Ticket {
  readonly id: string;
  /** Name of the definition. */
  readonly saga: string;
  /** Its hash. */
  readonly definition: string;
  /** The input's text, the same for the same value. */
  readonly input: string;
  /** Milliseconds since the epoch, on the clock of whoever started it. */
  readonly deadlineAt?: number;
}

/** How a saga stands, by DBOS. Times are milliseconds since the epoch, on the clock of the database. */
export interface DbosSagaInfo {
  readonly id: string;
  /** Name of its definition. */
  readonly name: string;
  readonly status: DbosSagaStatus;
  /** What DBOS calls the status of the workflow. */
  readonly workflowStatus: string;
  readonly input: unknown;
  /** Once it has ended or is stuck. */
  readonly outcome?: SagaOutcome | undefined;
  /** What broke the workflow, where something did. */
  readonly error?: unknown;
  /** Who runs it, or ran it last. */
  readonly executorId: string | undefined;
  readonly applicationVersion: string | undefined;
  /** Whether this process knows its definition, so that it can carry it on. */
  readonly isKnown: boolean;
  /** How often it was begun or carried on. */
  readonly runs: number;
  readonly createdAt: number;
  readonly updatedAt: number;
}

type WorkflowState = (typeof StatusString)[keyof typeof StatusString];

/** Which statuses of DBOS a saga in a status can have. */
export const WORKFLOW_STATUSES: Readonly<Record<DbosSagaStatus, readonly WorkflowState[]>> = {
  running: ["PENDING", "ENQUEUED", "DELAYED"],
  halted: ["CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED", "ERROR"],
  completed: ["SUCCESS"],
  compensated: ["SUCCESS"],
  stuck: ["SUCCESS"],
};

/** What a workflow of ours was started with. */
export function ticketOf({ input }: WorkflowStatus): Ticket {
  return input?.[0] as Ticket;
}

function statusOf({ status, output }: WorkflowStatus): DbosSagaStatus {
  // What our workflow ends with is the outcome.
  if (status === "SUCCESS") return (output as SagaOutcome).status;
  return WORKFLOW_STATUSES.halted.some((one) => one === status) ? "halted" : "running";
}

/** What DBOS knows of a saga, in the words of sagas. */
export function infoOf(workflow: WorkflowStatus, isKnown: (definition: string) => boolean): DbosSagaInfo {
  const ticket = ticketOf(workflow);
  const { workflowID, status, output, error, executorId, applicationVersion, createdAt } = workflow;
  return {
    id: workflowID,
    name: ticket.saga,
    status: statusOf(workflow),
    workflowStatus: status,
    input: JSON.parse(ticket.input) as unknown,
    ...(status === "SUCCESS" && { outcome: output as SagaOutcome }),
    ...(status === "ERROR" && { error }),
    executorId,
    applicationVersion,
    isKnown: isKnown(ticket.definition),
    runs: workflow.recoveryAttempts ?? 0,
    createdAt,
    updatedAt: workflow.updatedAt ?? createdAt,
  };
}
