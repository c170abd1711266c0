import { styleText } from "node:util";
import type { Line, Scene, Seen, Verdict } from "./scene.js";

/** Where the demo prints. */
export interface Output {
  readonly isTTY?: boolean | undefined;
  hasColors?(): boolean;
  write(text: string): unknown;
}

type Style = Parameters<typeof styleText>[0];

function describeStep(step: string | number): string {
  return typeof step === "number" ? `wait ${Math.round(step)} ms` : step;
}

function describeReport({ report }: Seen): string {
  if (report === undefined) return "refused before it began: no report";
  const { status, execution, attempts, waitedMs, ack, error } = report;
  const waited = waitedMs > 0 ? `, waited ${Math.round(waitedMs)} ms` : "";
  const answered = ack ? "answered" : "never answered";
  const again = error?.retryAfterMs === undefined ? "" : `, try again in ${error.retryAfterMs} ms`;
  return `${status}, ${execution}, ${attempts} ${attempts === 1 ? "attempt" : "attempts"}${waited}, ${answered}${again}`;
}

/** Prints the demo; in colour where the terminal shows colours and nobody asked for none (`NO_COLOR`). */
export class Printer {
  readonly #inColour: boolean;

  constructor(private readonly output: Output) {
    this.#inColour = output.isTTY === true && output.hasColors?.() === true;
  }

  #paint(style: Style, text: string): string {
    return this.#inColour ? styleText(style, text, { validateStream: false }) : text;
  }

  #line(text = ""): void {
    this.output.write(`${text}\n`);
  }

  scene(number: number, { title, about }: Scene): void {
    this.#line();
    this.#line(this.#paint("bold", `${number}. ${title}`));
    this.#line(this.#paint("dim", `   ${about}`));
  }

  verdict(line: Line, { seen, executions, mismatches }: Verdict): void {
    const trail = seen.trail.length === 0 ? "nothing was sent" : seen.trail.map(describeStep).join(" -> ");
    const counted =
      executions === undefined ? "" : `; counted ${executions === 1 ? "1 execution" : `${executions} executions`}`;
    const mark = mismatches.length === 0 ? this.#paint("green", "ok") : this.#paint("red", "MISMATCH");
    this.#line(`   ${this.#paint("cyan", line.padEnd(7))} ${seen.call}`);
    this.#line(
      `           ${this.#paint("yellow", trail)}   ${this.#paint("dim", `${Math.round(seen.elapsedMs)} ms`)}`,
    );
    this.#line(`           ${this.#answer(seen)} | ${describeReport(seen)}${counted} | ${mark}`);
    for (const mismatch of mismatches) this.#line(this.#paint("red", `           ! ${mismatch}`));
  }

  #answer({ answer, error }: Seen): string {
    if (error !== undefined) return this.#paint("magenta", `throws ${answer}`);
    return `returns ${answer.length > 60 ? `${answer.slice(0, 57)}...` : answer}`;
  }

  failure(line: Line, error: unknown): void {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.#line(this.#paint("red", `   ${line}: the scene broke off: ${text}`));
  }

  summary(scenes: number, calls: number, failures: number, elapsedMs: number): void {
    const seconds = (elapsedMs / 1000).toFixed(1);
    const text = `${scenes} scenes, ${calls} calls, ${failures} mismatches, ${seconds} s`;
    this.#line();
    this.#line(
      failures === 0 ? this.#paint("green", `All as expected: ${text}.`) : this.#paint("red", `FAILED: ${text}.`),
    );
  }
}
