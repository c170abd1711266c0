import { expect, test } from "vitest";
import { createKey } from "./key.js";
import { context } from "./testing/index.js";

test("gives the same key for the same name, and values by key", () => {
  const { call } = context();
  const tenant = createKey<string>("acme.tenant");
  expect(call.get(tenant)).toBeUndefined();
  call.set(tenant, "a");
  expect(call.get(createKey<string>("acme.tenant"))).toBe("a");
  expect(call.get(createKey<string>("acme.other"))).toBeUndefined();
  expect(context().call.get(tenant)).toBeUndefined();
});

test("refuses a key without a name", () => {
  for (const name of ["", undefined, 5])
    expect(() => createKey(name as never)).toThrow("createKey: name must be a non-empty string");
});
