import { DBOS } from "@dbos-inc/dbos-sdk";
import { middlewareOf, type RecordKeeper } from "@mcp-tx/core";
import { INTERPRETER_VERSION as ENGINE_VERSION } from "@mcp-tx/saga/engine";

/**
 * Names how a saga becomes steps of a workflow: by this package, and by the interpreter of `@mcp-tx/saga`. It changes when a workflow
 * that an older version began could not be carried on by this one.
 */
export const INTERPRETER_VERSION: string = `mcp-tx.saga-1.${ENGINE_VERSION}`;

/** What joins the parts of an application version. */
const JOINT = "+";
/** What DBOS calls an executor that was given no id. */
const NAMELESS = "local";
const OWNER = "createDbosSagas";

/**
 * The `applicationVersion` for `DBOS.setConfig`. DBOS lets a process carry on only what a process of the same version began.
 *
 * @param own - a version of your own, if processes of another one must not carry on what this one begins. Without it a new release
 *   carries on the sagas of the old one
 */
export function applicationVersion(own?: string): string {
  return own === undefined || own === "" ? INTERPRETER_VERSION : `${own}${JOINT}${INTERPRETER_VERSION}`;
}

/** The records that calls leave, where the caller says which. */
export function keepersOf(caller: object): readonly RecordKeeper[] {
  return (middlewareOf(caller) ?? []).map(({ records }) => records).filter((records) => records !== undefined);
}

/**
 * DBOS may run a step twice: after a crash between a step's effect and its end, and when a saga is taken over from a process that was
 * thought dead. Only a record of the call keeps the tool from running twice.
 *
 * @throws TypeError saying what to add
 */
export function checkCaller(caller: object, trusted: boolean): void {
  if (trusted) return;
  if (middlewareOf(caller) === undefined) {
    throw new TypeError(
      `${OWNER}: caller is of another making, so that nobody knows whether a repeated call is recognised; give one of wrapClient() ` +
        "with idempotency({ store }) on a durable store, or say trustCaller: true if its server recognises repeated keys for good",
    );
  }
  const keepers = keepersOf(caller);
  if (keepers.length === 0) {
    throw new TypeError(
      `${OWNER}: caller has no idempotency() for all of its calls, and DBOS may run a step twice; add idempotency({ store }) with a ` +
        "durable store, such as postgresStore({ pool }).idempotency",
    );
  }
  if (!keepers.some(({ durable, bypasses }) => durable && !bypasses)) {
    throw new TypeError(
      keepers.some(({ durable }) => durable)
        ? `${OWNER}: caller has an idempotency() with storeErrors "bypass", which lets a step run without a record; leave it at "fail"`
        : `${OWNER}: caller has an idempotency() whose store is lost with the process; give it a durable one, such as ` +
            "postgresStore({ pool }).idempotency",
    );
  }
}

/** Why this process must not run sagas as DBOS is configured; `undefined` when it may. Known once DBOS is launched. */
export function misconfiguration(singleProcess: boolean): string | undefined {
  if (!DBOS.isInitialized()) return "DBOS does not run; await DBOS.launch() first";
  if (!DBOS.applicationVersion.split(JOINT).includes(INTERPRETER_VERSION)) {
    return (
      `DBOS runs as application version "${DBOS.applicationVersion}", under which another interpreter may carry on what this one ` +
      "began; give DBOS.setConfig() applicationVersion: applicationVersion() of @mcp-tx/dbos"
    );
  }
  if (DBOS.executorID === NAMELESS && !singleProcess) {
    return (
      `DBOS runs with executor id "${NAMELESS}", its default: each process that starts would take over what the others run; give ` +
      "DBOS.setConfig() an executorID that is this process's alone and the same after a restart, or say singleProcess: true"
    );
  }
  return undefined;
}
