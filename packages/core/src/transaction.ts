import { type Caller, type InvokeOptions, invokeThrough } from "./caller.js";
import type { CallReport, ToolResult } from "./contract.js";
import { reportOf } from "./report.js";
import { ClaimedKeys } from "./run.js";

/** A named group of calls, each with a key of its own. */
export interface Transaction {
  readonly id: string;
  /** Reports of all steps so far, also of those that failed, in the order in which they ended. */
  readonly reports: readonly (CallReport & { readonly step: string })[];
  /** Attempts of all steps so far. */
  readonly attempts: number;
  /**
   * Runs one step. Its key is derived from the transaction's id and the step's name, so that the same step of the same
   * transaction is recognised wherever keys are honoured.
   *
   * @throws what `caller.invoke` throws; TypeError for a step that is running or has completed
   */
  invoke<T = unknown>(
    step: string,
    tool: string,
    args?: Readonly<Record<string, unknown>>,
    options?: Omit<InvokeOptions<T>, "idempotencyKey" | "transactionId">,
  ): Promise<T>;
}

/** Options of {@link transaction}. */
export interface TransactionOptions {
  /** @defaultValue a random UUID */
  readonly id?: string | undefined;
}

/**
 * Tracks the calls of one workflow: one id on all of them, a stable key for each, their reports in one place.
 *
 * @remarks
 * The keys travel wherever somebody honours them: an `idempotency()` in the pipeline or a server that announces a store. They
 * are harmless elsewhere, so a plain pipeline takes them too. Nothing is persisted or undone; that is what `saga` is for.
 */
export function transaction(caller: Caller<unknown>, options: TransactionOptions = {}): Transaction {
  if (typeof caller?.call !== "function") throw new TypeError("transaction: caller must have a method call()");
  const { id = crypto.randomUUID() } = options;
  if (typeof id !== "string" || id === "") throw new TypeError("transaction: id must be a non-empty string");
  const reports: (CallReport & { readonly step: string })[] = [];
  const taken = new Set<string>();

  function claim(step: string): void {
    if (typeof step !== "string" || step === "") throw new TypeError("transaction: step must be a non-empty string");
    if (taken.has(step))
      throw new TypeError(`transaction: step "${step}" is running or done; another call needs another name`);
    taken.add(step);
  }

  function record(step: string, value: unknown): void {
    const report = reportOf(value);
    if (report !== undefined) reports.push({ ...report, step });
  }

  return {
    id,
    reports,
    get attempts() {
      return reports.reduce((sum, report) => sum + report.attempts, 0);
    },
    async invoke(step, tool, args = {}, given = {}) {
      claim(step);
      const idempotencyKey = JSON.stringify([id, step]);
      const keyed = { ...given, idempotencyKey, transactionId: id, [ClaimedKeys]: true };
      const call = async (options: object | undefined): Promise<ToolResult> => {
        try {
          const result = (await caller.call(tool, args, options)) as ToolResult;
          record(step, result);
          return result;
        } catch (error) {
          record(step, error);
          throw error;
        }
      };
      try {
        return await invokeThrough(call, tool, keyed);
      } catch (error) {
        // Failed: the same step, with the same key, may be tried again.
        taken.delete(step);
        throw error;
      }
    },
  };
}
