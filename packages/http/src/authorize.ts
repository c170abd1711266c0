import type { Authorize } from "./options.js";
import { Refusal } from "./refusal.js";
import type { RequestDetails, Route } from "./types.js";

/** What may stand in a header. */
const PRINTABLE = /^[\x20-\x7e]+$/;

function unauthorized(challenge: unknown): Refusal {
  const isFine = typeof challenge === "string" && PRINTABLE.test(challenge);
  return new Refusal("unauthorized", { headers: { "www-authenticate": isFine ? challenge : "Bearer" } });
}

/** Who asks. */
export interface Asker {
  /** `undefined` where everybody may ask. */
  readonly principal: string | undefined;
  /** Whether this one may see and call a tool that is offered. */
  readonly may: (tool: string) => boolean;
}

function everything(): boolean {
  return true;
}

/** A list that is none lets nothing through: it was meant to narrow. */
function permission(tools: unknown): Asker["may"] {
  if (tools === undefined) return everything;
  if (!Array.isArray(tools))
    throw new TypeError("createHttpHandler: tools that authorize gives must be an array of names");
  const names: ReadonlySet<unknown> = new Set(tools);
  return (tool) => names.has(tool);
}

function askerIn(answer: unknown): Asker {
  if (typeof answer === "string" && answer !== "") return { principal: answer, may: everything };
  if (answer === undefined || answer === null || answer === false) throw unauthorized(undefined);
  const given = (typeof answer === "object" ? answer : {}) as Readonly<Record<string, unknown>>;
  const { principal, tools, status, challenge } = given;
  if (status === 401) throw unauthorized(challenge);
  if (status === 403) throw new Refusal("forbidden");
  if (status === undefined && typeof principal === "string" && principal !== "") {
    return { principal, may: permission(tools) };
  }
  throw new TypeError(
    "createHttpHandler: authorize must give a principal, a non-empty string, or { status: 401 } or { status: 403 }",
  );
}

/**
 * Who asks: as the framework says, else as `authorize` does.
 *
 * @throws Refusal; whatever the hook throws
 */
export async function askerOf(
  request: Request,
  route: Route,
  given: RequestDetails | undefined,
  authorize: Authorize | undefined,
): Promise<Asker> {
  if (given?.principal !== undefined) return askerIn(given.principal);
  if (authorize === undefined) return { principal: undefined, may: everything };
  return askerIn(await authorize(request, { route }));
}
