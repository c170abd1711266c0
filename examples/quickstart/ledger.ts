import { appendFileSync, existsSync, readFileSync } from "node:fs";

/** One line of the ledger: a tool began to run for a job, or had its effect. */
interface Entry {
  readonly job: string;
  readonly event: "began" | "done";
}

/** The server's own book of what it executed. A file, because one of the tools takes its process down. */
export class Ledger {
  constructor(readonly file: string) {}

  write(job: string, event: Entry["event"]): void {
    appendFileSync(this.file, `${JSON.stringify({ job, event } satisfies Entry)}\n`);
  }

  /** How often a tool began to run for this job. */
  executions(job: string): number {
    return this.#count(job, "began");
  }

  /** How often the job had its effect. */
  effects(job: string): number {
    return this.#count(job, "done");
  }

  #count(job: string, event: Entry["event"]): number {
    if (!existsSync(this.file)) return 0;
    const lines = readFileSync(this.file, "utf8")
      .split("\n")
      .filter((line) => line !== "");
    const entries = lines.map((line) => JSON.parse(line) as Entry);
    return entries.filter((entry) => entry.job === job && entry.event === event).length;
  }
}
