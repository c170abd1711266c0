import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import fc from "fast-check";
import { describe, expect, onTestFinished, test } from "vitest";
import type { ReliableConfig } from "./config-types.js";
import { VARIABLES } from "./environment.js";
import { type LoadConfigOptions, loadConfig, sourceOf } from "./load-config.js";
import { readConfig } from "./read-config.js";
import { standardOrder } from "./standard-order.js";

/** A folder with files in it. */
async function folder(files: Readonly<Record<string, unknown>>): Promise<string> {
  const cwd = await mkdtemp(join(tmpdir(), "mcp-tx-config-"));
  onTestFinished(() => rm(cwd, { recursive: true, force: true }));
  for (const [name, content] of Object.entries(files)) {
    await mkdir(dirname(join(cwd, name)), { recursive: true });
    await writeFile(join(cwd, name), typeof content === "string" ? content : JSON.stringify(content));
  }
  return cwd;
}

/** What comes of some files and variables. */
async function load(files: Readonly<Record<string, unknown>>, options: LoadConfigOptions<string> = {}) {
  return loadConfig({ env: {}, ...options, cwd: await folder(files) });
}

const YAML = `
timeoutMs: 30_000 # as in JavaScript
retry: { maxAttempts: .inf, jitter: none }
tools:
  "pay*":
    retry: false
    idempotency: { key: { fields: [orderId] }, ttlMs: 86400000 }
`;

test("without a file and variables there is nothing to say", async () => {
  const config = await load({ "package.json": { name: "app" }, "other.json": { timeoutMs: 5 } });
  expect(config).toEqual({});
  expect(sourceOf(config)).toEqual({ file: undefined, variables: [] });
  expect(sourceOf({})).toBeUndefined();
});

test.each([
  "package.json",
  ".mcp-txrc",
  ".mcp-txrc.json",
  ".mcp-txrc.yaml",
  ".mcp-txrc.yml",
  "mcp-tx.config.json",
  "mcp-tx.config.yaml",
  "mcp-tx.config.yml",
])("finds %s", async (name) => {
  const content = { timeoutMs: 5 };
  const config = await load({ [name]: name === "package.json" ? { "mcp-tx": content } : content });
  expect(config).toEqual(content);
  expect(sourceOf(config)?.file).toContain(name);
});

test("looks nowhere else, and takes the first place that has one", async () => {
  const cwd = await folder({ "mcp-tx.config.json": { timeoutMs: 1 }, "inner/readme": "" });
  expect(await loadConfig({ cwd: join(cwd, "inner"), env: {} })).toEqual({});
  const both = { "package.json": { name: "app" }, ".mcp-txrc": "timeoutMs: 2", "mcp-tx.config.json": { timeoutMs: 1 } };
  expect(await load(both)).toEqual({ timeoutMs: 2 });
});

test("reads YAML, and what it says is what the pipeline takes", async () => {
  const config = await load({ "mcp-tx.config.yaml": YAML.replace("30_000", "30000") });
  expect(config).toEqual({
    timeoutMs: 30_000,
    retry: { maxAttempts: Infinity, jitter: "none" },
    tools: { "pay*": { retry: false, idempotency: { key: { fields: ["orderId"] }, ttlMs: 86_400_000 } } },
  });
  expect(standardOrder(config).map(({ name }) => name)).toEqual(
    ["idempotencyPerTool", "retryPerTool", "circuitBreaker"].map((name) => expect.stringContaining(name)),
  );
});

test.each([["mcp-tx.config.json"], [".mcp-txrc"], ["mcp-tx.config.yml"]])("an empty %s says nothing", async (name) => {
  expect(await load({ [name]: "\n" })).toEqual({});
});

test("takes the file that is named, by the option before the variable", async () => {
  const files = { "a.json": { timeoutMs: 1 }, "deep/b.yaml": "timeoutMs: 2", "mcp-tx.config.json": { timeoutMs: 3 } };
  const cwd = await folder(files);
  expect(await loadConfig({ cwd, env: { MCP_TX_CONFIG: "deep/b.yaml" } })).toEqual({ timeoutMs: 2 });
  expect(await loadConfig({ cwd, file: "a.json", env: { MCP_TX_CONFIG: "deep/b.yaml" } })).toEqual({ timeoutMs: 1 });
  expect(await loadConfig({ cwd, file: join(cwd, "a.json"), env: {} })).toEqual({ timeoutMs: 1 });
  expect(await loadConfig({ cwd, env: { MCP_TX_CONFIG: " " } })).toEqual({ timeoutMs: 3 });
});

describe("the environment", () => {
  test("goes over the file, and leaves what it does not name", async () => {
    const file = { timeoutMs: 1, retry: { maxAttempts: 2, jitter: "none" }, tools: { pay: { timeoutMs: 9 } } };
    const env = { MCP_TX_TIMEOUT_MS: "5", MCP_TX_RETRY_MAX_ATTEMPTS: "7", MCP_TX_CIRCUIT_BREAKER: "off" };
    const config = await load({ "mcp-tx.config.json": file }, { env });
    expect(config).toEqual({
      timeoutMs: 5,
      retry: { maxAttempts: 7, jitter: "none" },
      circuitBreaker: false,
      tools: { pay: { timeoutMs: 9 } },
    });
    expect([...(sourceOf(config)?.variables ?? [])].sort()).toEqual(Object.keys(env).sort());
  });

  test.each<[unknown, Record<string, string>, unknown]>([
    [{ retry: false }, { MCP_TX_RETRY_MAX_ATTEMPTS: "5" }, { retry: { maxAttempts: 5 } }],
    [{ retry: { maxAttempts: 5 } }, { MCP_TX_RETRY: "true" }, { retry: { maxAttempts: 5 } }],
    [{ retry: { maxAttempts: 5 } }, { MCP_TX_RETRY: "false" }, { retry: false }],
    [{}, { MCP_TX_RETRY: "false", MCP_TX_RETRY_MAX_ATTEMPTS: "5" }, { retry: false }],
    [{ retry: false }, { MCP_TX_RETRY: "true" }, { retry: true }],
    [{ concurrency: 4 }, { MCP_TX_CONCURRENCY_MAX_QUEUE: "9" }, { concurrency: { max: 4, maxQueue: 9 } }],
    [{ concurrency: { max: 4, maxQueue: 9 } }, { MCP_TX_CONCURRENCY: "5" }, { concurrency: { max: 5, maxQueue: 9 } }],
    [{}, { MCP_TX_RATE_LIMIT_RATE: "2.5" }, { rateLimit: { rate: 2.5 } }],
    [{}, { MCP_TX_RETRY_JITTER: "equal" }, { retry: { jitter: "equal" } }],
  ])("%j and %j make %j", async (file, env, expected) => {
    expect(await load({ "mcp-tx.config.json": file }, { env })).toEqual(expected);
  });

  test("is the process's own unless another one is given", async () => {
    process.env["MCP_TX_TIMEOUT_MS"] = "77";
    onTestFinished(() => {
      delete process.env["MCP_TX_TIMEOUT_MS"];
    });
    expect(await loadConfig({ cwd: await folder({}) })).toEqual({ timeoutMs: 77 });
  });

  test("can set every key that it knows", async () => {
    const texts = { number: "1", boolean: "yes" } as const;
    const words: Readonly<Record<string, string>> = {
      "retry.jitter": "none",
      "retry.replay": "never",
      "idempotency.onConcurrent": "reject",
      "idempotency.toolErrors": "reclaim",
      "rateLimit.onLimit": "reject",
    };
    const text = ({ key, kind }: { key: string; kind: string }) =>
      kind === "text" ? (words[key] ?? "some text") : texts[kind as "number"];
    const env = Object.fromEntries(Object.entries(VARIABLES).map(([name, variable]) => [name, text(variable)]));
    const config: unknown = await load({}, { env });
    for (const { key, kind } of Object.values(VARIABLES)) {
      const value = key.split(".").reduce<unknown>((inner, part) => (inner as Record<string, unknown>)?.[part], config);
      if (kind === "number") expect(value, key).toBe(1);
      else expect(value, key).toBeDefined();
    }
  });
});

describe("a mistake", () => {
  test.each<[string, unknown, string]>([
    ["mcp-tx.config.json", { retry: { maxAttempts: 0 } }, "retry.maxAttempts must be an integer >= 1"],
    ["mcp-tx.config.yaml", "retry: { maxAttemps: 2 }", 'retry.maxAttemps does not exist; did you mean "maxAttempts"?'],
    [".mcp-txrc", 'tools: { "pay*": { timeoutMs: soon } }', 'tools["pay*"].timeoutMs must be a number'],
    ["mcp-tx.config.json", '{"__proto__": {"retry": 1}}', "__proto__ does not exist; known are "],
    ["mcp-tx.config.json", { rateLimit: { burst: 5 } }, "rateLimit.rate is required"],
    ["mcp-tx.config.json", { tools: { pay: { concurrency: {} } } }, "tools.pay.concurrency.max is required"],
    ["mcp-tx.config.json", [], "the configuration must be an object, got an array"],
    ["mcp-tx.config.yaml", "just text", 'the configuration must be an object, got "just text"'],
  ])("in %s, %j, is named by file and key", async (name, content, message) => {
    const cwd = await folder({ [name]: content });
    const problem = await loadConfig({ cwd, env: {} }).catch((error: unknown) => error);
    expect(problem).toBeInstanceOf(Error);
    expect((problem as Error).message.startsWith(`${join(cwd, name)}: ${message}`)).toBe(true);
  });

  test("in package.json is named by file and key", async () => {
    await expect(load({ "package.json": { "mcp-tx": { timeoutMs: -1 } } })).rejects.toThrow(
      /package\.json \("mcp-tx"\): timeoutMs must be a number > 0 \(Infinity allowed\), got -1$/,
    );
    const files = { "package.json": { name: "app" } };
    await expect(load(files, { file: "package.json" })).rejects.toThrow(/package\.json has no key "mcp-tx"$/);
  });

  test.each([
    ["mcp-tx.config.json", '{ "timeoutMs": 5, }'],
    ["mcp-tx.config.yaml", "retry: { maxAttempts: 2"],
    ["mcp-tx.config.yml", "timeoutMs: 1\ntimeoutMs: 2"],
    ["package.json", "{"],
  ])("of syntax in %s is named by the file", async (name, content) => {
    const cwd = await folder({ [name]: content });
    const problem = await loadConfig({ cwd, env: {} }).catch((error: unknown) => error);
    expect(problem).toBeInstanceOf(Error);
    expect((problem as Error).message).toContain(join(cwd, name));
  });

  test("in a variable is named by the variable, whatever the file says", async () => {
    const files = { "mcp-tx.config.json": { retry: { maxAttempts: 2 } } };
    const loading = (env: Record<string, string>) => load(files, { env });
    await expect(loading({ MCP_TX_RETRY_MAX_ATTEMPTS: "0" })).rejects.toThrow(
      new RangeError("MCP_TX_RETRY_MAX_ATTEMPTS must be an integer >= 1 (Infinity allowed), got 0"),
    );
    await expect(loading({ MCP_TX_RETRY_JITTER: "some" })).rejects.toThrow(
      /^MCP_TX_RETRY_JITTER must be one of "full", "equal", "decorrelated", "none", got "some"$/,
    );
    await expect(loading({ MCP_TX_CONCURRENCY: "0" })).rejects.toThrow(/^MCP_TX_CONCURRENCY must be an integer >= 1/);
  });

  test("of a file that a variable made wrong is named by the variable, of a file wrong by itself by the file", async () => {
    const files = { "mcp-tx.config.json": { timeoutMs: 5 } };
    await expect(load(files, { env: { MCP_TX_RATE_LIMIT_BURST: "3" } })).rejects.toThrow(
      /^MCP_TX_RATE_LIMIT_BURST: rateLimit\.rate is required/,
    );
    const wrong = { "mcp-tx.config.json": { rateLimit: { burst: 3 } } };
    const env = { MCP_TX_TIMEOUT_MS: "5" };
    await expect(load(wrong, { env })).rejects.toThrow(/mcp-tx\.config\.json: rateLimit\.rate is required/);
    // What the file leaves out, a variable may say.
    await load(wrong, { env: { MCP_TX_RATE_LIMIT_RATE: "2" } });
  });

  test("in a variable is always named by it", async () => {
    const cwd = await folder({});
    const numbers = Object.keys(VARIABLES).filter((name) => VARIABLES[name]?.kind === "number");
    const text = fc.constantFrom("-1", "five", "1s", "--1", "NaN", "null");
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...numbers), text, async (name, value) => {
        const problem = await loadConfig({ cwd, env: { [name]: value } }).catch((error: unknown) => error);
        expect(problem).toBeInstanceOf(Error);
        expect((problem as Error).message.startsWith(`${name} must be `)).toBe(true);
      }),
    );
  });

  test("in the name of a file says that there is none", async () => {
    await expect(load({}, { file: "nowhere.json" })).rejects.toThrow(/nowhere\.json does not exist$/);
    await expect(load({ "a.toml": "" }, { file: "a.toml" })).rejects.toThrow(
      /a\.toml must be a JSON or YAML file, not "\.toml"$/,
    );
    await expect(load({ "a.json/b": "" }, { file: "a.json" })).rejects.toThrow(/a\.json cannot be read \(EISDIR\)$/);
  });
});

describe("code", () => {
  const CODE = 'globalThis.mcpTxRan = true; export default { timeoutMs: 5, idempotency: { key: () => "k" } };';
  const ran = (): boolean => Object.hasOwn(globalThis, "mcpTxRan");

  test("is never run because it lies about", async () => {
    const places = ["mcp-tx.config.js", ".mcp-txrc.js", ".mcp-txrc.mjs", ".config/config.js", ".config/config.mjs"];
    const files = Object.fromEntries(places.map((name) => [name, CODE]));
    expect(
      await load({ ...files, "package.json": { name: "app", cosmiconfig: { searchPlaces: ["mcp-tx.config.js"] } } }),
    ).toEqual({});
    expect(ran()).toBe(false);
  });

  test("is not run because it is named either", async () => {
    for (const file of ["a.js", "a.mjs", "a.cjs", "a.ts"]) {
      await expect(load({ [file]: CODE }, { file })).rejects.toThrow(
        "is code, which is not run unless allowCode is true",
      );
    }
    expect(ran()).toBe(false);
  });

  test("is run when that is asked for", async () => {
    onTestFinished(() => {
      Reflect.deleteProperty(globalThis, "mcpTxRan");
    });
    const config = await load({ "a.mjs": CODE }, { file: "a.mjs", allowCode: true });
    expect(config).toMatchObject({ timeoutMs: 5, idempotency: { key: expect.any(Function) } });
    expect(ran()).toBe(true);
  });
});

test("whatever a file says, it is a configuration or an error that names the file and is short", async () => {
  const cwd = await folder({});
  const file = join(cwd, "mcp-tx.config.json");
  const keys = fc.constantFrom(
    "timeoutMs",
    "retry",
    "retryBudget",
    "idempotency",
    "circuitBreaker",
    "rateLimit",
    "concurrency",
    "tools",
    "logging",
    "peer",
    "reconnect",
    "trustAnnotations",
    "__proto__",
    "constructor",
    "retires",
  );
  const value = fc.oneof(
    fc.jsonValue({ maxDepth: 4 }),
    fc.dictionary(fc.constantFrom("maxAttempts", "rate", "key", "fields", "__proto__", "pay*", "max"), fc.jsonValue()),
  );
  const content = fc.oneof(
    fc.string({ unit: "binary" }),
    fc.json(),
    fc
      .array(fc.tuple(keys, value), { maxLength: 4 })
      .map((pairs) => `{${pairs.map(([key, given]) => `${JSON.stringify(key)}:${JSON.stringify(given)}`).join(",")}}`),
  );
  await fc.assert(
    fc.asyncProperty(content, async (text) => {
      await writeFile(file, text);
      const end: unknown = await loadConfig({ file, env: {} }).catch((error: unknown) => error);
      expect(Object.keys(Object.prototype)).toEqual([]);
      if (!(end instanceof Error)) return void standardOrder(end as ReliableConfig);
      expect(end.message).toContain(file);
      expect(end.message.length).toBeLessThan(2000 + file.length);
    }),
    { numRuns: 300 },
  );
});

test("keys of others come back as they are, and only those that are asked for", async () => {
  const files = { "mcp-tx.config.json": { timeoutMs: 5, cli: { store: "a.db" } } };
  expect(await load(files, { sections: ["cli"] })).toEqual({ timeoutMs: 5, cli: { store: "a.db" } });
  await expect(load(files)).rejects.toThrow(/cli does not exist/);
});

test("what is loaded is a configuration again", async () => {
  const config = await load({ "mcp-tx.config.yaml": YAML.replace("30_000", "30000") });
  expect(readConfig(config)).toEqual(config);
});
