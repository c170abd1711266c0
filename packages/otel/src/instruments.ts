import type { Attributes, Counter, Gauge, Histogram, Meter, UpDownCounter } from "@opentelemetry/api";
import {
  ATTEMPT_BUCKETS,
  DURATION_BUCKETS,
  METRIC_CALL_ATTEMPTS,
  METRIC_CALL_DURATION,
  METRIC_CIRCUIT_STATE,
  METRIC_CIRCUIT_TRANSITIONS,
  METRIC_CLIENT_DURATION,
  METRIC_IDEMPOTENCY_REQUESTS,
  METRIC_LIMIT_QUEUE,
  METRIC_LIMIT_REJECTIONS,
  METRIC_LIMIT_WAIT,
  METRIC_RETRY_DELAY,
  METRIC_SERVER_DURATION,
} from "./semconv.js";

/** The instruments of one meter. */
export interface Instruments {
  readonly clientDuration: Histogram;
  readonly serverDuration: Histogram;
  readonly callDuration: Histogram;
  readonly callAttempts: Histogram;
  readonly retryDelay: Histogram;
  readonly idempotencyRequests: Counter;
  readonly circuitState: Gauge;
  readonly circuitTransitions: Counter;
  readonly limitQueue: UpDownCounter;
  readonly limitWait: Histogram;
  readonly limitRejections: Counter;
  /** Attributes of every point. */
  readonly common: Attributes;
}

function seconds(meter: Meter, name: string, description: string): Histogram {
  const advice = { explicitBucketBoundaries: [...DURATION_BUCKETS] };
  return meter.createHistogram(name, { description, unit: "s", advice });
}

/** Creates the instruments; for a name that is taken already the SDK gives what is there. */
export function createInstruments(meter: Meter, common: Attributes): Instruments {
  return {
    common,
    clientDuration: seconds(meter, METRIC_CLIENT_DURATION, "Duration of one attempt, as the client sees it"),
    serverDuration: seconds(meter, METRIC_SERVER_DURATION, "Duration of one request, as the server sees it"),
    callDuration: seconds(meter, METRIC_CALL_DURATION, "Duration of one call, with all attempts and waits"),
    callAttempts: meter.createHistogram(METRIC_CALL_ATTEMPTS, {
      description: "Attempts of one call that were handed to the transport",
      unit: "{attempt}",
      advice: { explicitBucketBoundaries: [...ATTEMPT_BUCKETS] },
    }),
    retryDelay: seconds(meter, METRIC_RETRY_DELAY, "Delay before a repetition"),
    idempotencyRequests: meter.createCounter(METRIC_IDEMPOTENCY_REQUESTS, {
      description: "Calls with an idempotency key, by what became of them",
      unit: "{request}",
    }),
    circuitState: meter.createGauge(METRIC_CIRCUIT_STATE, {
      description: "1 for the state that a circuit is in, 0 for the states that it has left",
      unit: "1",
    }),
    circuitTransitions: meter.createCounter(METRIC_CIRCUIT_TRANSITIONS, {
      description: "Changes of the state of circuits, by the new state",
      unit: "{transition}",
    }),
    limitQueue: meter.createUpDownCounter(METRIC_LIMIT_QUEUE, {
      description: "Attempts that wait to be sent",
      unit: "{attempt}",
    }),
    limitWait: seconds(meter, METRIC_LIMIT_WAIT, "Time that a call waited for a rate or concurrency limit"),
    limitRejections: meter.createCounter(METRIC_LIMIT_REJECTIONS, {
      description: "Calls that a rate or concurrency limit refused",
      unit: "{call}",
    }),
  };
}
