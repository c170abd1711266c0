/** JSON Schemas of servers, made fit to stand inside of an OpenAPI 3.1 document, whose dialect is 2020-12. */

type Bag = Readonly<Record<string, unknown>>;

/** Keywords whose value is a schema by name: the names are no keywords. */
const MAPS: ReadonlySet<string> = new Set([
  "properties",
  "patternProperties",
  "$defs",
  "definitions",
  "dependentSchemas",
]);
/** Keywords whose value is data. */
const DATA: ReadonlySet<string> = new Set(["const", "enum", "default", "examples", "example"]);
/** Keywords that only the root of a document may have, or that change what references mean. */
const DROPPED: ReadonlySet<string> = new Set(["$schema", "$id", "id", "$vocabulary"]);
/** A server's schema may be of any depth. */
const MAX_DEPTH = 100;

function isBag(value: unknown): value is Bag {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** References into the schema itself, which now begins elsewhere. */
function movedRef(ref: unknown, root: string): unknown {
  if (ref === "#") return root;
  return typeof ref === "string" && ref.startsWith("#/") ? root + ref.slice(1) : ref;
}

/** Tuples have another keyword since 2020-12. */
function withTuples(schema: Bag): Bag {
  if (!Array.isArray(schema.items)) return schema;
  const { items, additionalItems, ...rest } = schema;
  return { ...rest, prefixItems: items, ...(additionalItems !== undefined && { items: additionalItems }) };
}

function embedMap(map: unknown, root: string, depth: number): unknown {
  if (!isBag(map)) return map;
  return Object.fromEntries(Object.entries(map).map(([name, schema]) => [name, embedAt(schema, root, depth)]));
}

function embedAt(schema: unknown, root: string, depth: number): unknown {
  if (depth > MAX_DEPTH) return {};
  if (Array.isArray(schema)) return schema.map((entry) => embedAt(entry, root, depth + 1));
  if (!isBag(schema)) return schema;
  const entries = Object.entries(withTuples(schema)).filter(([name]) => !DROPPED.has(name));
  return Object.fromEntries(entries.map(([name, value]) => [name, embedKeyword(name, value, root, depth + 1)]));
}

function embedKeyword(name: string, value: unknown, root: string, depth: number): unknown {
  if (name === "$ref") return movedRef(value, root);
  if (DATA.has(name)) return value;
  return MAPS.has(name) ? embedMap(value, root, depth) : embedAt(value, root, depth);
}

/**
 * A copy of a schema for a place in a document.
 *
 * @param root - reference to that place: `"#/components/schemas/Name"`
 */
export function embedSchema(schema: unknown, root: string): unknown {
  return embedAt(schema, root, 0);
}
