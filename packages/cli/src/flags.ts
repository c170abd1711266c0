import { usageError } from "./exit-codes.js";

/** Reads the values of options. What may be a secret is not repeated in messages. */

/** An address to listen on. */
export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

const LOOPBACK = "127.0.0.1";
const ADDRESS = /^(?:(?<host>\[[0-9a-f:.%]+\]|[^:[\]\s]+):)?(?<port>\d{1,5})$/i;

/** `8080`, `localhost:8080`, `[::1]:8080`. @throws CliError naming the option */
export function parseListen(text: string): ListenAddress {
  const { host, port: digits } = ADDRESS.exec(text)?.groups ?? {};
  const port = Number(digits);
  if (digits === undefined || port > 65_535) {
    throw usageError(
      `--listen must be a port from 0 to 65535, with or without a host, such as 8080 or 127.0.0.1:8080; got ${JSON.stringify(text)}`,
    );
  }
  return { host: host?.replace(/^\[|\]$/g, "") ?? LOOPBACK, port };
}

/** Whether only this machine can reach an address. */
export function isLoopback({ host }: ListenAddress): boolean {
  return host === "localhost" || host === "::1" || /^127\.\d+\.\d+\.\d+$/.test(host);
}

/** @throws CliError naming the option */
export function parseServerUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol)) {
    throw usageError("--url must be an http or https address, such as https://example.com/mcp");
  }
  if (url.username !== "" || url.password !== "") {
    throw usageError("--url must not hold a user name or password; send them with --header or --header-env");
  }
  return url;
}

function checkHeader(option: string, name: string, value: string): readonly [string, string] {
  try {
    new Headers([[name, value]]);
  } catch {
    throw usageError(`${option}: ${JSON.stringify(name)} is no header name, or its value cannot be sent in a header`);
  }
  return [name, value];
}

/** `Name: value`. @throws CliError naming the option */
export function parseHeader(text: string): readonly [name: string, value: string] {
  const at = text.indexOf(":");
  if (at < 1) throw usageError('--header must be a name and a value, such as --header "Accept-Language: en"');
  return checkHeader("--header", text.slice(0, at).trim(), text.slice(at + 1).trim());
}

/** `Name=VARIABLE`, the value being that of the variable. @throws CliError naming the option */
export function parseHeaderEnv(
  text: string,
  env: Readonly<Record<string, string | undefined>>,
): readonly [name: string, value: string] {
  const at = text.indexOf("=");
  const variable = text.slice(at + 1).trim();
  if (at < 1 || variable === "") {
    throw usageError(
      "--header-env must be a header and a variable, such as --header-env Authorization=API_AUTHORIZATION",
    );
  }
  const value = env[variable];
  if (value === undefined) throw usageError(`--header-env: the environment variable ${variable} is not set`);
  return checkHeader("--header-env", text.slice(0, at).trim(), value);
}

const UNITS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };

/** `90m`, `24h`, `7d`, or a date. @returns milliseconds since the epoch @throws CliError naming the option */
export function parseSince(text: string, now: number): number {
  const [, amount, unit = ""] = /^(\d{1,9})([smhdw])$/.exec(text.trim()) ?? [];
  if (amount !== undefined) return now - Number(amount) * (UNITS[unit] ?? 0);
  const date = /^\d{4}-\d{2}/.test(text.trim()) ? Date.parse(text.trim()) : Number.NaN;
  if (!Number.isNaN(date)) return date;
  throw usageError(
    `--since must be a time ago, such as 90m, 24h or 7d, or a date, such as 2026-01-31; got ${JSON.stringify(text)}`,
  );
}
