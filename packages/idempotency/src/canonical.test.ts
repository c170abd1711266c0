import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { canonicalJson } from "./canonical.js";

const canonical = (value: unknown): string => canonicalJson(value, "arguments");

/** As slow and as plain as can be. */
function reference(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(reference).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const bag = value as Record<string, unknown>;
  const members = Object.keys(bag)
    .sort()
    .map((key) => `${JSON.stringify(key)}:${reference(bag[key])}`);
  return `{${members.join(",")}}`;
}

describe("canonicalJson", () => {
  test("writes the example of RFC 8785, section 3.2.2, as section 3.2.3 shows it", () => {
    const input = {
      numbers: [Number("333333333.33333329"), 1e30, 4.5, 2e-3, 0.000000000000000000000000001],
      string: '\u20ac$\u000f\nA\'B"\\\\"/',
      literals: [null, true, false],
    };
    expect(canonical(input)).toBe(
      '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}',
    );
  });

  test("sorts keys by UTF-16 code units, few and many of them", () => {
    const keys = ["\u20ac", "\r", "\ufb33", "1", "\u{1f600}", "\u0080", "\u00f6"];
    const written = Object.keys(JSON.parse(canonical(Object.fromEntries(keys.map((key) => [key, 0])))));
    expect(written.filter((key) => key !== "1")).toEqual(["\r", "\u0080", "\u00f6", "\u20ac", "\u{1f600}", "\ufb33"]);
    const many = Array.from({ length: 100 }, (_, index) => `k${(index * 37) % 100}`);
    expect(canonical(Object.fromEntries(many.map((key) => [key, 0])))).toBe(
      reference(Object.fromEntries(many.map((key) => [key, 0]))),
    );
  });

  test("agrees with a slow reference, in any order of keys, and says what JSON says", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const plain: unknown = JSON.parse(JSON.stringify(value));
        expect(canonical(plain)).toBe(reference(plain));
        expect(JSON.parse(canonical(plain))).toEqual(plain);
        const reversed: unknown = JSON.parse(JSON.stringify(plain), (_key, member: unknown) =>
          typeof member === "object" && member !== null && !Array.isArray(member)
            ? Object.fromEntries(Object.entries(member).reverse())
            : member,
        );
        expect(canonical(reversed)).toBe(canonical(plain));
      }),
    );
  });

  test("gives different values different texts", () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), (one, two) => {
        const [a, b] = [JSON.parse(JSON.stringify(one)), JSON.parse(JSON.stringify(two))] as [unknown, unknown];
        expect(canonical(a) === canonical(b)).toBe(reference(a) === reference(b));
      }),
    );
  });

  test("takes __proto__ for a key like any other", () => {
    expect(canonical(JSON.parse('{"__proto__":{"a":1},"b":2}'))).toBe('{"__proto__":{"a":1},"b":2}');
    expect(canonical(JSON.parse('{"b":2}'))).not.toBe(canonical(JSON.parse('{"__proto__":{"a":1},"b":2}')));
  });

  test("asks toJSON once, and leaves out what JSON leaves out", () => {
    const date = new Date(0);
    const odd = { date, gone: undefined, fn: () => 1, symbol: Symbol("s"), list: [undefined, () => 1, Symbol("s")] };
    expect(canonical(odd)).toBe('{"date":"1970-01-01T00:00:00.000Z","list":[null,null,null]}');
    const itself = { a: 1, toJSON: () => itself };
    expect(canonical({ itself })).toBe('{"itself":{"a":1}}');
    expect(canonical({ at: { toJSON: (key: string) => key } })).toBe('{"at":"at"}');
    expect(canonical({ gone: { toJSON: () => undefined } })).toBe("{}");
  });

  test("takes boxed primitives, typed arrays and instances for what JSON takes them for", () => {
    class Point {
      x = 1;
    }
    const odd = [Object(1), Object("a"), Object(true), new Point(), new Uint8Array([7]), Object.create(null)];
    expect(canonical(odd)).toBe(JSON.stringify(odd));
  });

  test("writes -0 as 0", () => {
    expect(canonical([-0])).toBe("[0]");
  });

  test("takes a value that occurs twice, and 900 levels", () => {
    const shared = { a: 1 };
    expect(canonical([shared, shared])).toBe('[{"a":1},{"a":1}]');
    let deep: unknown = 1;
    for (let level = 0; level < 900; level += 1) deep = [deep];
    expect(canonical(deep)).toHaveLength(1801);
  });

  const cycle: { list: unknown[] } = { list: [] };
  cycle.list.push({ cycle });
  let tooDeep: unknown = 1;
  for (let level = 0; level < 100_000; level += 1) tooDeep = { a: tooDeep };
  const refused: Readonly<Record<string, readonly [unknown, RegExp]>> = {
    NaN: [{ a: { b: [0, Number.NaN] } }, /^arguments\.a\.b\[1\] is NaN/],
    Infinity: [[-Infinity], /^arguments\[0\] is -Infinity/],
    "a BigInt": [{ "a b": 1n }, /^arguments\["a b"\] is a BigInt/],
    "a lone surrogate": [{ a: "x\ud800" }, /^arguments\.a holds half of a surrogate pair/],
    "a lone surrogate in a key": [{ "\udfff": 1 }, /half of a surrogate pair/],
    "a cycle": [cycle, /^arguments\.list\[0\]\.cycle\..*…?.* contains itself/],
    "what is too deep": [tooDeep, /nested more than 1000 levels/],
    "a Map": [{ a: new Map([[1, 2]]) }, /^arguments\.a is a Map/],
    "a Set": [{ a: new Set([1]) }, /^arguments\.a is a Set/],
    nothing: [undefined, /nothing that JSON can hold/],
    "a function": [() => 1, /nothing that JSON can hold/],
  };
  for (const [name, [value, message]] of Object.entries(refused)) {
    test(`refuses ${name}, and names the place`, () => {
      expect(() => canonical(value)).toThrow(TypeError);
      expect(() => canonical(value)).toThrow(message);
      expect(() => canonical(value)).toThrow(/^.{0,300}$/);
    });
  }

  test("names the place of a member that cannot be read, and its reason", () => {
    const cause = new Error("closed");
    const hostile = {
      a: {
        get b(): never {
          throw cause;
        },
      },
    };
    let error: unknown;
    try {
      canonical(hostile);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toMatchObject({ message: "arguments.a.b cannot be read", cause });
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    expect(() => canonical({ proxy })).toThrow("arguments.proxy cannot be read");
  });

  test("stops soon in a cycle beside which there is much else", () => {
    const wide: Record<string, unknown> = {};
    for (let index = 0; index < 1000; index += 1) wide[`k${index}`] = "x".repeat(100);
    wide.self = wide;
    expect(() => canonical(wide)).toThrow("contains itself");
  });
});
