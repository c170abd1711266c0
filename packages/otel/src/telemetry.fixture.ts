import {
  type Attributes,
  SpanKind,
  SpanStatusCode,
  type TextMapPropagator,
  type TracerProvider,
} from "@opentelemetry/api";
import { CompositePropagator, W3CBaggagePropagator, W3CTraceContextPropagator } from "@opentelemetry/core";
import { MeterProvider, MetricReader } from "@opentelemetry/sdk-metrics";
import {
  BasicTracerProvider,
  InMemorySpanExporter,
  type ReadableSpan,
  SimpleSpanProcessor,
  type SpanProcessor,
} from "@opentelemetry/sdk-trace-base";
import type { OtelOptions } from "./options.js";

/** A span with those below it, in the order in which they started. */
export interface Tree {
  readonly name: string;
  readonly kind: string;
  /** Absent where it is unset. */
  readonly status?: string;
  readonly attributes: Attributes;
  readonly events?: readonly { readonly name: string; readonly attributes: Attributes }[];
  readonly children?: readonly Tree[];
}

/** A point of a metric: a histogram's sum and count, or a value. */
export interface Point {
  readonly attributes: Attributes;
  readonly value: unknown;
}

interface Providers {
  readonly tracerProvider: TracerProvider;
  readonly meterProvider: MeterProvider;
  readonly propagator: TextMapPropagator;
}

/** Collects when it is told to. */
class Reader extends MetricReader {
  protected override async onForceFlush(): Promise<void> {}
  protected override async onShutdown(): Promise<void> {}
}

function treeOf(span: ReadableSpan, all: readonly ReadableSpan[]): Tree {
  const children = all
    .filter(({ parentSpanContext }) => parentSpanContext?.spanId === span.spanContext().spanId)
    .map((child) => treeOf(child, all));
  const events = span.events.map(({ name, attributes }) => ({ name, attributes: attributes ?? {} }));
  return {
    name: span.name,
    kind: SpanKind[span.kind],
    ...(span.status.code !== SpanStatusCode.UNSET && { status: SpanStatusCode[span.status.code] }),
    attributes: span.attributes,
    ...(events.length > 0 && { events }),
    ...(children.length > 0 && { children }),
  };
}

function pointValue(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  const { sum, count, buckets } = value as { sum: number; count: number; buckets: { boundaries: number[] } };
  return { sum: Math.round(sum * 1e6) / 1e6, count, boundaries: buckets.boundaries };
}

/** An SDK of a test's own: nothing is registered globally. */
export class Recorder {
  readonly exporter: InMemorySpanExporter = new InMemorySpanExporter();
  readonly #reader = new Reader();
  /** In the order in which they started. */
  readonly #started: string[] = [];
  readonly options: OtelOptions & Providers;

  constructor() {
    const order: SpanProcessor = {
      onStart: (span) => void this.#started.push(span.spanContext().spanId),
      onEnd: () => undefined,
      forceFlush: async () => undefined,
      shutdown: async () => undefined,
    };
    const spanProcessors = [order, new SimpleSpanProcessor(this.exporter)];
    this.options = {
      tracerProvider: new BasicTracerProvider({ spanProcessors }),
      meterProvider: new MeterProvider({ readers: [this.#reader] }),
      propagator: new CompositePropagator({
        propagators: [new W3CTraceContextPropagator(), new W3CBaggagePropagator()],
      }),
    };
  }

  /** Finished spans, by when they started. */
  spans(): readonly ReadableSpan[] {
    const rank = (span: ReadableSpan): number => this.#started.indexOf(span.spanContext().spanId);
    return this.exporter.getFinishedSpans().sort((one, other) => rank(one) - rank(other));
  }

  /** Spans that were begun, ended or not. */
  get started(): number {
    return this.#started.length;
  }

  trees(): readonly Tree[] {
    const all = this.spans();
    const ids = all.map((span) => span.spanContext().spanId);
    return all
      .filter(({ parentSpanContext }) => !ids.includes(parentSpanContext?.spanId ?? ""))
      .map((root) => treeOf(root, all));
  }

  /** Points by the name of their metric. */
  async metrics(): Promise<Readonly<Record<string, readonly Point[]>>> {
    const { resourceMetrics } = await this.#reader.collect();
    const metrics = resourceMetrics.scopeMetrics.flatMap((scope) => scope.metrics);
    return Object.fromEntries(
      metrics.map(({ descriptor, dataPoints }) => [
        descriptor.name,
        dataPoints.map(({ attributes, value }) => ({ attributes, value: pointValue(value) })),
      ]),
    );
  }

  /** Everything that left, as text. */
  async everything(): Promise<string> {
    const spans = this.spans().map(({ name, attributes, events, status, links }) => {
      return { name, attributes, events, status, links };
    });
    const { resourceMetrics, errors } = await this.#reader.collect();
    return JSON.stringify({ spans, resourceMetrics, errors });
  }
}
