import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import type { Group, Task } from "../harness/group.js";

/** What is used here of esbuild, which comes with the loader that runs this file. */
interface Esbuild {
  build(options: object): Promise<{ readonly outputFiles: readonly { readonly contents: Uint8Array }[] }>;
}

const require = createRequire(import.meta.url);
const { build } = createRequire(require.resolve("tsx/package.json"))("esbuild") as Esbuild;
const FOLDER = fileURLToPath(new URL("..", import.meta.url));

/** An application that imports these names of these modules and nothing else, minified and compressed. */
function bundled(imports: Readonly<Record<string, readonly string[]>>, external: readonly string[] = []): Task {
  const contents = Object.entries(imports)
    .map(([module, names]) => `export { ${names.join(", ")} } from ${JSON.stringify(module)};`)
    .join("\n");
  return async () => {
    const { outputFiles } = await build({
      stdin: { contents, resolveDir: FOLDER },
      bundle: true,
      minify: true,
      write: false,
      format: "esm",
      target: "es2023",
      platform: "node",
      external: ["node:*", ...external],
      logLevel: "silent",
    });
    return outputFiles.reduce((sum, file) => sum + gzipSync(file.contents, { level: 9 }).length, 0);
  };
}

const CORE = "@mcp-tx/core";
const ENTRY = ["pipeline", "compose", "wrapTool", "createKey", "reportOf"];
const CLIENT = [...ENTRY, "wrapClient"];
const PEER = "cockatiel, typical import";

/** Name of a bundle, what is in it, and the most bytes it may have. */
type Bundle = readonly [name: string, task: Task, atMost?: number | undefined];

/** A package by itself: applications have core anyway. */
function alone(folder: string, names: readonly string[], atMost?: number): Bundle {
  const isolated = bundled({ [`@mcp-tx/${folder}`]: names }, [CORE, `${CORE}/*`]);
  return [`${folder}: ${names.join(", ")}, without core`, isolated, atMost];
}

const bundles: readonly Bundle[] = [
  [`core: ${ENTRY.join(", ")}`, bundled({ [CORE]: ENTRY }), 1600],
  ["core: the same with wrapClient, classify and the gate", bundled({ [CORE]: CLIENT }), 3500],
  alone("retry", ["retry"], 2000),
  alone("circuit-breaker", ["circuitBreaker"], 2000),
  alone("rate-limit", ["rateLimit"], 2000),
  alone("rate-limit", ["concurrencyLimit"], 2000),
  [
    "core with retry, breaker and limit",
    bundled({
      [CORE]: CLIENT,
      "@mcp-tx/retry": ["retry"],
      "@mcp-tx/circuit-breaker": ["circuitBreaker"],
      "@mcp-tx/rate-limit": ["rateLimit"],
    }),
    6000,
  ],
  alone("idempotency", ["idempotency", "memoryStore"]),
  alone("saga", ["defineSaga", "createSagaRunner"]),
  alone("monitor", ["monitor"]),
  [
    "otel: without core and the API",
    bundled({ "@mcp-tx/otel": ["otel", "otelAttempt"] }, [CORE, `${CORE}/*`, "@opentelemetry/api"]),
  ],
  ["mcp-tx: reliable, with all it uses", bundled({ "mcp-tx": ["reliable"] })],
  [
    PEER,
    bundled({
      cockatiel: [
        "retry",
        "circuitBreaker",
        "bulkhead",
        "timeout",
        "wrap",
        "handleAll",
        "ExponentialBackoff",
        "ConsecutiveBreaker",
      ],
    }),
  ],
];

export default (): readonly Group[] => [
  {
    title: "size: bundled, minified and compressed",
    measure: "value",
    unit: "B",
    contenders: Object.fromEntries(bundles.map(([name, task]) => [name, task])),
    reference: PEER,
    targets: bundles.map(([name, , atMost]) => ({ what: `size: ${name}`, ours: name, atMost })),
  },
];
