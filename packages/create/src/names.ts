import validate from "validate-npm-package-name";

/** What a package's name gives its parts. */
export interface Names {
  /** As given: `@acme/mcp-audit`. */
  readonly packageName: string;
  /** The file, and by default the folder: `mcp-audit`. */
  readonly file: string;
  /** The factory, and the call option: `mcpAudit`. */
  readonly camel: string;
  /** What types begin with: `McpAudit`. */
  readonly pascal: string;
}

/** Call options of mcp-tx, and names of its middlewares: a second middleware would be taken for the first. */
const TAKEN: ReadonlySet<string> = new Set(
  (
    "signal idempotencyKey transactionId timeoutMs attemptTimeoutMs middleware pinned " +
    "retry hedge circuitBreaker rateLimit concurrencyLimit adaptiveConcurrency idempotency saga compensating otel otelAttempt " +
    "otelServer monitor"
  ).split(" "),
);

/** What the template itself uses, and what no function can be called. */
const UNUSABLE: ReadonlySet<string> = new Set(
  (
    "createKey callback readOptions pass passes start next ctx options onPass run test expect pipeline " +
    "await break case catch class const continue debugger default delete do else enum export extends false finally for function " +
    "if implements import in instanceof interface let new null package private protected public return static super switch " +
    "this throw true try typeof var void while with yield arguments eval undefined async of"
  ).split(" "),
);

function camelCased(words: readonly string[]): string {
  return words.map((word, index) => (index === 0 ? word : word.charAt(0).toUpperCase() + word.slice(1))).join("");
}

/**
 * Derives names from the name of a package.
 *
 * @throws TypeError naming `name`, for one that no registry takes or that gives no usable function name
 */
export function namesOf(packageName: string): Names {
  const { validForNewPackages, errors = [], warnings = [] } = validate(packageName);
  if (!validForNewPackages) {
    throw new TypeError(`name ${JSON.stringify(packageName)}: ${[...errors, ...warnings].join(", ")}`);
  }
  const file = packageName.slice(packageName.indexOf("/") + 1);
  const camel = camelCased(file.split(/[^a-z0-9]+/).filter((word) => word !== ""));
  if (!/^[a-z]/.test(camel)) {
    throw new TypeError(`name "${packageName}": its last part must begin with a letter, it names a function`);
  }
  if (TAKEN.has(camel)) throw new TypeError(`name "${packageName}": mcp-tx has a "${camel}" already`);
  if (UNUSABLE.has(camel)) throw new TypeError(`name "${packageName}": no function can be called "${camel}" here`);
  return { packageName, file, camel, pascal: camel.charAt(0).toUpperCase() + camel.slice(1) };
}
