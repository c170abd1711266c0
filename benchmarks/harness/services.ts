import { connect } from "node:net";

/** A database that benchmarks use: where it listens, and what its rows are called when it is not there. */
export interface Service {
  readonly name: string;
  readonly url: string;
}

export const POSTGRES: Service = {
  name: "Postgres",
  url: process.env["MCP_TX_POSTGRES_URL"] ?? "postgres://root@127.0.0.1/test",
};
export const REDIS: Service = { name: "Redis", url: process.env["MCP_TX_REDIS_URL"] ?? "redis://127.0.0.1" };

const USUAL_PORTS: Readonly<Record<string, number>> = { "postgres:": 5432, "postgresql:": 5432, "redis:": 6379 };

/** Whether somebody listens there. Without anybody, rows are left out, loudly; any other trouble ends the run. */
export async function isThere({ name, url }: Service): Promise<boolean> {
  const { hostname, port, protocol } = new URL(url);
  const socket = connect({ host: hostname, port: port === "" ? (USUAL_PORTS[protocol] ?? 0) : Number(port) });
  try {
    await new Promise<void>((resolve, reject) => socket.once("connect", resolve).once("error", reject));
    return true;
  } catch (error) {
    process.stderr.write(`SKIPPED: the rows of ${name}: ${String(error)}\n`);
    return false;
  } finally {
    socket.destroy();
  }
}
