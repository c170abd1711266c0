import fc from "fast-check";
import { expect, test } from "vitest";
import { perTool, ToolOverrides } from "./tool-overrides.js";

const of = (tools: Readonly<Record<string, object>>, name: string): readonly string[] =>
  new ToolOverrides(tools, "config").of(name).map(({ path }) => path);

test("all globs that fit apply, later ones over earlier ones, and the exact name over all of them", () => {
  const tools = { pay: {}, "*": {}, "p*": {}, "q*": {}, "*y": {} };
  expect(of(tools, "pay")).toEqual([
    'config.tools["*"]',
    'config.tools["p*"]',
    'config.tools["*y"]',
    "config.tools.pay",
  ]);
  expect(of(tools, "query")).toEqual(['config.tools["*"]', 'config.tools["q*"]', 'config.tools["*y"]']);
});

test("a tool that is really called like a glob gets what is said under its name, once and last", () => {
  expect(of({ "a*": {}, "*": {} }, "a*")).toEqual(['config.tools["*"]', 'config.tools["a*"]']);
});

test("names that objects have by themselves are names like any other", () => {
  expect(of({ pay: {} }, "constructor")).toEqual([]);
  expect(of(Object.fromEntries([["__proto__", {}]]), "__proto__")).toEqual(["config.tools.__proto__"]);
});

test("looks a name up once", () => {
  const asked: string[] = [];
  const find = perTool((name) => asked.push(name));
  expect([find("a"), find("a"), find("b"), find("a"), find("b")]).toEqual([1, 1, 2, 1, 2]);
  expect(asked).toEqual(["a", "b"]);
});

test("what a lookup finds is what it finds by itself, however many names there are, also when it is nothing", () => {
  const length = (name: string): number | undefined => (name.length % 2 === 0 ? undefined : name.length);
  const find = perTool(length);
  fc.assert(
    fc.property(fc.array(fc.string(), { maxLength: 50 }), (names) => {
      expect(names.map((name) => find(name))).toEqual(names.map(length));
    }),
  );
});

test("remembers a bounded number of names, and no long ones", () => {
  const asked: string[] = [];
  const find = perTool((name) => {
    asked.push(name);
    return name;
  });
  for (let index = 0; index < 1500; index += 1) find(`tool-${index}`);
  expect(asked).toHaveLength(1500);
  find("tool-1499");
  find("tool-1498");
  expect(asked).toHaveLength(1500);
  find("tool-0");
  expect(asked).toHaveLength(1501);
  const long = "x".repeat(300);
  find(long);
  find(long);
  expect(asked).toHaveLength(1503);
});

test("a lookup that fails is made again", () => {
  let isDown = true;
  const find = perTool((name) => {
    if (isDown) throw new TypeError("does not go together");
    return name;
  });
  expect(() => find("a")).toThrow("does not go together");
  isDown = false;
  expect(find("a")).toBe("a");
});
