import type { CallContext, Handler, Middleware, ToolResult } from "@mcp-tx/core";
import type { KeyFields } from "./config-types.js";

type Args = Readonly<Record<string, unknown>>;

/** The member of the arguments that a name such as `order.id` stands for; a member that is really called so goes first. */
function valueAt(args: Args, name: string): unknown {
  if (Object.hasOwn(args, name)) return args[name];
  let value: unknown = args;
  for (const part of name.split(".")) {
    if (typeof value !== "object" || value === null || !Object.hasOwn(value, part)) return undefined;
    value = (value as Args)[part];
  }
  return value;
}

function isMissing(value: unknown): boolean {
  return value === undefined || value === null || value === "";
}

/**
 * The key that a call's arguments make: the JSON array of their values.
 *
 * @returns `undefined` where one is missing and that is no mistake
 * @throws TypeError for a missing argument, or one of whose value no key can be made
 */
export function keyOfFields({ fields, missing }: KeyFields, { tool, args }: CallContext): string | undefined {
  const values: unknown[] = [];
  for (const name of fields) {
    const value = valueAt(args, name);
    const isAbsent = isMissing(value);
    if (isAbsent && missing === "ignore") return undefined;
    if (isAbsent || (typeof value === "object" && value !== null)) {
      // The name comes from the configuration; the value is the caller's and stays out of the message.
      const what = isAbsent
        ? `give it the argument "${name}"`
        : `the argument "${name}" must be a text, number or boolean`;
      throw new TypeError(`Tool "${tool}" was not called: ${what}, of which its idempotency key is made.`);
    }
    values.push(value);
  }
  return JSON.stringify(values);
}

/**
 * Gives the calls of an `idempotency()` middleware that have no key the one that their arguments make. In front of it and not
 * its option `key`, so that whoever called hears in so many words which argument is missing.
 */
export function keyedByFields(idempotency: Middleware, key: KeyFields): Middleware {
  function keyed(ctx: CallContext, next: Handler): Promise<ToolResult> {
    if (ctx.options.idempotencyKey !== undefined) return idempotency(ctx, next);
    let made: string | undefined;
    try {
      made = keyOfFields(key, ctx);
    } catch (error) {
      return Promise.reject(error);
    }
    if (made === undefined) return idempotency(ctx, next);
    return idempotency({ ...ctx, options: { ...ctx.options, idempotencyKey: made } }, next);
  }
  const { seat, optionKeys, records, announces } = idempotency;
  return Object.assign(keyed, { seat, optionKeys, records, announces });
}
