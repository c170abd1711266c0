export type { TransportLike } from "../tap.js";
export type { Message } from "../wire.js";
export {
  type AnnouncingServer,
  type AnnouncingServerOptions,
  announcingServer,
  type ServedRun,
  type ServedTool,
  type ServerConnection,
} from "./announcing-server.js";
export { context } from "./context.js";
export { type CountingSignal, countingSignal } from "./counting-signal.js";
export {
  type CrashInfo,
  type CrashPoints,
  crashAt,
  crashPoints,
  forEachCrashPoint,
  SimulatedCrash,
} from "./crash-points.js";
export {
  type Fault,
  type FaultPlan,
  type FaultyTransportOptions,
  faultyTransport,
  type Passage,
} from "./faulty-transport.js";
export {
  type IdempotencyStoreContractOptions,
  type IdempotencyStoreHarness,
  idempotencyStoreContract,
} from "./idempotency-store-contract.js";
export { keyClaiming } from "./key-claiming.js";
export { type ContractCase, type MiddlewareContractOptions, middlewareContract } from "./middleware-contract.js";
export {
  type RateLimitStoreContractOptions,
  type RateLimitStoreSubject,
  rateLimitStoreContract,
} from "./rate-limit-store-contract.js";
export { type SagaStoreContractOptions, type SagaStoreHarness, sagaStoreContract } from "./saga-store-contract.js";
export { type ScriptedStep, type ScriptedTool, type ScriptedToolOptions, scriptedTool } from "./scripted-tool.js";
export { type VirtualTime, type VirtualTimeOptions, virtualTime } from "./virtual-time.js";
