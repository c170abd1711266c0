export {
  createDbosSagas,
  type DbosSagaHandle,
  type DbosSagaListOptions,
  type DbosSagaRunOptions,
  type DbosSagas,
} from "./dbos-sagas.js";
export type { DbosSagasOptions } from "./options.js";
export { applicationVersion, INTERPRETER_VERSION } from "./safeguards.js";
export type { DbosSagaInfo, DbosSagaStatus } from "./view.js";
