import { describe, expectTypeOf, it } from "vitest";
import { compensating } from "./compensating.js";
import { defineSaga, type SagaDefinition, unchecked } from "./definition.js";
import type { CompletedSaga, FailedSaga, SagaFailure, SagaOutcome } from "./outcome.js";
import { createSagaRunner } from "./runner.js";
import type { SagaRunner } from "./runner-types.js";
import { world } from "./world.fixture.js";

// What stands here is checked when it is compiled; running it only shows that the types are no fiction.

interface Reservation {
  readonly id: string;
}
const reservation = unchecked<Reservation>();
const amount = unchecked<number>();

const reserved = defineSaga<{ sku: string; count: number }>("order").step({
  name: "reserve",
  tool: "reserve",
  args: (s) => {
    expectTypeOf(s.input).toEqualTypeOf<{ sku: string; count: number }>();
    return { sku: s.input.sku };
  },
  output: reservation,
  compensate: {
    tool: "release",
    args: (s, original) => {
      expectTypeOf(s.input.count).toEqualTypeOf<number>();
      expectTypeOf(original.result).toEqualTypeOf<Reservation | undefined>();
      return { id: original.result?.id };
    },
  },
});

describe("the types of a definition", () => {
  it("let later steps see the results of earlier ones", () => {
    reserved.step({
      name: "charge",
      tool: "charge",
      args: (s) => {
        expectTypeOf(s.reserve).toEqualTypeOf<Reservation>();
        // @ts-expect-error there is no such step
        void s.charged;
        // @ts-expect-error its own result is not there yet
        void s.charge;
        // @ts-expect-error no such member of a result
        void s.reserve.name;
        return { id: s.reserve.id };
      },
    });
  });

  it("leave a result without a schema unknown", () => {
    defineSaga("s")
      .step({ name: "a", tool: "a" })
      .step({
        name: "b",
        tool: "b",
        args: (s) => {
          expectTypeOf(s.a).toBeUnknown();
          expectTypeOf(s.input).toBeUnknown();
          return {};
        },
      });
  });

  it("know the results of a parallel group, each by its name, but only behind it", () => {
    reserved
      .parallel([
        { name: "label", tool: "label", output: unchecked<{ url: string }>(), args: (s) => ({ id: s.reserve.id }) },
        { name: "invoice", tool: "invoice", output: amount },
        { name: "note", tool: "note" },
      ])
      .step({
        name: "ship",
        tool: "ship",
        args: (s) => {
          expectTypeOf(s.label).toEqualTypeOf<{ url: string }>();
          expectTypeOf(s.invoice).toEqualTypeOf<number>();
          expectTypeOf(s.note).toBeUnknown();
          expectTypeOf(s.reserve.id).toEqualTypeOf<string>();
          return {};
        },
      });
    reserved.parallel([
      { name: "a", tool: "a", output: amount },
      // @ts-expect-error a sibling's result is not there yet
      { name: "b", tool: "b", args: (s) => ({ a: s.a }) },
    ]);
  });

  it("know the results of a nested saga, and what input it takes", () => {
    const payment = defineSaga<{ amount: number }>("payment").step({ name: "charge", tool: "charge", output: amount });
    reserved.step({ name: "pay", saga: payment, input: (s) => ({ amount: s.input.count }) }).step({
      name: "mail",
      tool: "mail",
      args: (s) => {
        expectTypeOf(s.pay.charge).toEqualTypeOf<number>();
        // @ts-expect-error the nested saga has no such step
        void s.pay.refund;
        return { paid: s.pay.charge };
      },
    });
    // @ts-expect-error the nested saga wants a number
    reserved.step({ name: "pay", saga: payment, input: () => ({ amount: "much" }) });
  });

  it("refuse what no step has", () => {
    // @ts-expect-error a step calls a tool
    void (() => reserved.step({ name: "x" }));
    // @ts-expect-error arguments are an object
    void (() => reserved.step({ name: "x", tool: "x", args: 5 }));
    // @ts-expect-error nothing of that name
    void (() => reserved.step({ name: "x", tool: "x", compensation: { tool: "y" } }));
    // @ts-expect-error a compensation has a tool
    void (() => reserved.step({ name: "x", tool: "x", compensate: {} }));
  });
});

describe("the types of a run", () => {
  it("want the input and give the results", () => {
    const charged = reserved.step({ name: "charge", tool: "charge", output: amount });
    const run = (runner: SagaRunner) => runner.run(charged, { sku: "ABC", count: 1 });
    expectTypeOf(run).returns.resolves.toMatchTypeOf<SagaOutcome<{ reserve: Reservation; charge: number }>>();
    void ((runner: SagaRunner) => {
      // @ts-expect-error a member is missing
      void runner.run(charged, { sku: "ABC" });
      // @ts-expect-error a member is of another type
      void runner.run(charged, { sku: 5, count: 1 });
      // @ts-expect-error there is no such option
      void runner.run(charged, { sku: "ABC", count: 1 }, { timeout: 5 });
    });
  });

  it("narrow an outcome by its status", () => {
    void ((outcome: SagaOutcome<{ readonly charge: number }>) => {
      expectTypeOf(outcome.status).toEqualTypeOf<"completed" | "compensated" | "stuck">();
      if (outcome.status === "completed") {
        expectTypeOf(outcome).toEqualTypeOf<CompletedSaga<{ readonly charge: number }>>();
        expectTypeOf(outcome.results.charge).toEqualTypeOf<number>();
        expectTypeOf(outcome.error).toEqualTypeOf<undefined>();
      } else {
        expectTypeOf(outcome).toEqualTypeOf<FailedSaga<{ readonly charge: number }>>();
        expectTypeOf(outcome.results.charge).toEqualTypeOf<number | undefined>();
        expectTypeOf(outcome.error).toEqualTypeOf<SagaFailure>();
      }
      // @ts-expect-error a saga may not have got so far
      const paid: number = outcome.results.charge;
      void paid;
    });
  });

  it("take definitions of any types in one list", () => {
    const other = defineSaga<number>("other").step({ name: "a", tool: "a" });
    const { caller } = world({ names: ["a"] });
    const definitions: readonly SagaDefinition[] = [reserved, other];
    createSagaRunner({ caller: caller(), sagas: definitions });
    createSagaRunner({ caller: caller(), sagas: [reserved, other] });
  });
});

describe("the types of compensating", () => {
  it("give what a schema or the user says, and the value of the work", () => {
    const { caller } = world({ names: ["a"] });
    void (() => {
      const value = compensating(caller(), {}, async (s) => {
        expectTypeOf(s.invoke("a", "a")).resolves.toBeUnknown();
        expectTypeOf(s.invoke("b", "b", {}, { output: amount })).resolves.toEqualTypeOf<number>();
        expectTypeOf(s.invoke<Reservation>("c", "c")).resolves.toEqualTypeOf<Reservation>();
        return "done";
      });
      expectTypeOf(value).resolves.toEqualTypeOf<string>();
    });
  });
});
