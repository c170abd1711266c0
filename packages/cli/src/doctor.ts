import type { DoctorRequest } from "./command-line.js";
import { type Check, checkConfig, checkNode, checkServer, checkStore } from "./doctor-checks.js";
import { EXIT_CODES, sayError } from "./exit-codes.js";
import { headingOf } from "./init.js";
import { type Found, findFiles, isNamed } from "./init-selection.js";
import { serverEntries } from "./server-entry.js";
import type { Output, Surroundings } from "./surroundings.js";
import { readUndoRecord } from "./undo-record.js";

/** Checks that belong together. */
interface Section {
  readonly title: string;
  readonly checks: readonly Check[];
}

function broken(subject: string, error: unknown, advice?: string): Check {
  return { status: "broken", subject, detail: sayError(error), advice };
}

async function checkFile(request: DoctorRequest, where: Surroundings, found: Found): Promise<readonly Check[]> {
  if ("failure" in found) return [{ status: "broken", subject: "file", detail: found.failure }];
  const { file, location } = found;
  try {
    const entries = serverEntries(file.text, location.shape).filter((entry) => isNamed(request, entry));
    const servers = await Promise.all(entries.map((entry) => checkServer(where, file.text, entry)));
    return [...servers, ...(await checkUndo(where, found))];
  } catch (error) {
    return [broken("file", error, "correct it by hand; init leaves it alone as it is")];
  }
}

async function checkUndo(
  where: Surroundings,
  found: Extract<Found, { readonly file: unknown }>,
): Promise<readonly Check[]> {
  try {
    await readUndoRecord(where, found.file);
    return [];
  } catch (error) {
    return [{ status: "notice", subject: "undo", detail: sayError(error) }];
  }
}

async function checkHosts(request: DoctorRequest, where: Surroundings): Promise<readonly Section[]> {
  const found = await findFiles(where, request);
  if (found.length === 0) {
    const nothing: Check = { status: "notice", subject: "hosts", detail: "no configuration of a known host was found" };
    return [{ title: "Hosts", checks: [nothing] }];
  }
  return Promise.all(
    found.map(async (each) => {
      const checks = await checkFile(request, where, each);
      const none: Check = { status: "ok", subject: "servers", detail: "none" };
      return { title: headingOf(each.location), checks: checks.length === 0 ? [none] : checks };
    }),
  );
}

const MARKS: Readonly<Record<Check["status"], string>> = { ok: "ok      ", notice: "notice  ", broken: "BROKEN  " };

function linesOf({ title, checks }: Section): readonly string[] {
  return [
    title,
    ...checks.flatMap(({ status, subject, detail, advice }) => [
      `  ${MARKS[status]}${subject}: ${detail}`,
      ...(advice === undefined ? [] : [`          ${advice}`]),
    ]),
  ];
}

/**
 * Tells what is found on this machine, and what is broken.
 *
 * @returns the exit code: 1 when something is broken
 * @throws CliError for a file that was asked for by name and is not there
 */
export async function doctor(request: DoctorRequest, where: Surroundings, output: Output): Promise<number> {
  const own = [checkNode(process.version), await checkStore(where), await checkConfig(where, request.config)];
  const sections: readonly Section[] = [{ title: "This machine", checks: own }, ...(await checkHosts(request, where))];
  const isHealthy = sections.every(({ checks }) => checks.every(({ status }) => status !== "broken"));
  if (request.isJson) output.out(JSON.stringify({ healthy: isHealthy, sections }, undefined, 2));
  else for (const line of sections.flatMap(linesOf)) output.out(line);
  return isHealthy ? EXIT_CODES.ok : EXIT_CODES.failed;
}
