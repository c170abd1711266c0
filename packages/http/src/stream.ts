import { type Runtime, startTimer } from "@mcp-tx/core";
import { STREAM_HEADERS } from "./problem.js";

/** What is streamed. */
export interface StreamedCall {
  /** Makes the call; resolves to its last event. Never rejects. */
  readonly run: (onprogress: (progress: unknown) => void) => Promise<LastEvent>;
  /** The client has gone. */
  readonly abort: () => void;
  readonly heartbeatMs: number;
  readonly runtime: Runtime;
}

/** How a stream ends. `data` is JSON on one line. */
export interface LastEvent {
  readonly event: "result" | "problem";
  readonly data: string;
}

/** Events that may wait for a slow client; then progress is left out, which the next one makes up for. */
const MAX_WAITING = 64;

const HEARTBEAT = ":\n\n";

/** What of a progress notification is public. JSON has no line breaks, so that nothing in it can end an event. */
function progressData(given: unknown): string {
  const { progress, total, message } = (given ?? {}) as Readonly<Record<string, unknown>>;
  return JSON.stringify({
    ...(typeof progress === "number" && { progress }),
    ...(typeof total === "number" && { total }),
    ...(typeof message === "string" && { message }),
  });
}

function eventText(event: string, data: string): string {
  return `event: ${event}\ndata: ${data}\n\n`;
}

/** Quality that an `Accept` header gives a media type; `undefined` when it does not name it. */
function qualityOf(accept: string, type: string): number | undefined {
  for (const range of accept.split(",")) {
    const [name, ...parameters] = range.split(";").map((part) => part.trim().toLowerCase());
    if (name !== type) continue;
    const quality = parameters.find((parameter) => parameter.startsWith("q="))?.slice(2);
    return quality === undefined ? 1 : Number(quality);
  }
  return undefined;
}

/** Whether a client would rather have events: it names them, and JSON not at all or with a lower quality. */
export function prefersEvents(headers: Headers): boolean {
  const accept = headers.get("accept") ?? "";
  const events = qualityOf(accept, "text/event-stream") ?? 0;
  return events > (qualityOf(accept, "application/json") ?? 0);
}

/** Writes to a client that may be slow, or gone. */
class EventWriter {
  readonly #controller: ReadableStreamDefaultController<Uint8Array>;
  readonly #encoder = new TextEncoder();
  #isOver = false;

  constructor(controller: ReadableStreamDefaultController<Uint8Array>) {
    this.#controller = controller;
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** Writes what may be left out when the client does not keep up. */
  offer(text: string): void {
    if (this.#isOver || (this.#controller.desiredSize ?? 0) <= 0) return;
    this.#controller.enqueue(this.#encoder.encode(text));
  }

  end(text: string): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#controller.enqueue(this.#encoder.encode(text));
    this.#controller.close();
  }

  /** The client has gone: the stream is closed already. */
  drop(): void {
    this.#isOver = true;
  }
}

/** Answers a call with its progress, as server-sent events, and at last with its result or its problem. */
export function streamed({ run, abort, heartbeatMs, runtime }: StreamedCall): Response {
  let writer: EventWriter | undefined;
  let stopHeart: () => void = () => undefined;

  function beat(to: EventWriter): void {
    stopHeart = startTimer(runtime, heartbeatMs, () => {
      to.offer(HEARTBEAT);
      if (!to.isOver) beat(to);
    });
  }

  const body = new ReadableStream<Uint8Array>(
    {
      start(controller) {
        const to = new EventWriter(controller);
        writer = to;
        to.offer(HEARTBEAT);
        beat(to);
        run((progress) => to.offer(eventText("progress", progressData(progress)))).then(({ event, data }) => {
          stopHeart();
          to.end(eventText(event, data));
        });
      },
      cancel() {
        stopHeart();
        writer?.drop();
        abort();
      },
    },
    { highWaterMark: MAX_WAITING },
  );
  return new Response(body, { status: 200, headers: STREAM_HEADERS });
}
