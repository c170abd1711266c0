/** For engines that run sagas: the interpreter, and the port that it needs of them. */

export { tell } from "./events.js";
export { type Interpretation, interpret } from "./interpreter.js";
export { canonical, serialise } from "./json.js";
export { checkKeys, keyOf } from "./keys.js";
export { DEFAULT_RETRY, readPolicy } from "./policy.js";
export type { Intent, Origin, Prepared, SagaPort, Undo, UnitEnd, UnitMemory } from "./port.js";
export { argumentsProblem, type Preflight, preflight, refuseProblems, type Tools, toolsFrom } from "./preflight.js";
export { hashOf } from "./structure.js";

/**
 * Version of the interpreter: of the names that it asks for and their order. An engine that replays a history must not replay one of another
 * version.
 */
export const INTERPRETER_VERSION = "1";
