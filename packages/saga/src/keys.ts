import type { SagaDefinition } from "./definition.js";
import { SagaDefinitionError } from "./errors.js";

/** What is done to a step. */
export type Phase = "action" | "compensation";

/** What an announcing server takes, in UTF-16 code units. */
const MAX_KEY = 1024;

/** The key of a unit's calls: one saga, one step, one phase, whoever makes them. */
export function keyOf(saga: string, id: string, path: readonly string[], phase: Phase): string {
  return JSON.stringify(["saga", saga, id, path, phase === "action" ? "action" : "compensate"]);
}

/** Names a unit: the action of a step, or its compensation. */
export function unitOf(path: readonly string[], phase: Phase): string {
  return JSON.stringify([...path, phase]);
}

/** How a step is called where people read it. */
export function labelOf(path: readonly string[]): string {
  return path.join(".");
}

/**
 * Keys that a server of ours would refuse are refused before anything runs.
 *
 * @throws SagaDefinitionError
 */
export function checkKeys(definition: SagaDefinition, id: string): void {
  const checkIn = (nodes: SagaDefinition["nodes"], path: readonly string[]): void => {
    for (const node of nodes) {
      if ("saga" in node) checkIn(node.saga.nodes, [...path, node.name]);
      else for (const { name } of node.steps) checkKey(definition.name, id, [...path, name]);
    }
  };
  checkIn(definition.nodes, []);
}

function checkKey(saga: string, id: string, path: readonly string[]): void {
  if (keyOf(saga, id, path, "compensation").length <= MAX_KEY) return;
  throw new SagaDefinitionError(saga, [
    `the key of step "${path.join(".")}" would have more than ${MAX_KEY} characters; shorten the id or the names`,
  ]);
}
