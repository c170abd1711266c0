import { PassThrough } from "node:stream";
import fc from "fast-check";
import { expect, test } from "vitest";
import { JunkReport, LineReader, LineWriter, parseLine, textOfMessage } from "./proxy-lines.js";

function read(chunks: readonly Buffer[], maxBytes?: number): string[] {
  const found: string[] = [];
  const reader = new LineReader(
    { line: (text) => found.push(text), overflow: () => found.push("(overflow)") },
    maxBytes,
  );
  for (const chunk of chunks) reader.push(chunk);
  return found;
}

test("finds the same lines wherever the stream is cut", () => {
  const whole = Buffer.from('{"a":"🙂"}\r\n\n  \n{"b":2}\nrest without an end');
  const expected = ['{"a":"🙂"}', '{"b":2}'];
  expect(read([whole])).toEqual(expected);
  expect(read([...whole].map((byte) => Buffer.from([byte])))).toEqual(expected);
  for (let cut = 0; cut <= whole.length; cut += 1)
    expect(read([whole.subarray(0, cut), whole.subarray(cut)])).toEqual(expected);
});

test("whatever bytes come, and wherever they are cut, the lines are the same and each is messages or none", () => {
  const piece = fc.oneof(
    fc.uint8Array({ maxLength: 20 }),
    fc.json().map((text) => Buffer.from(`${text}\n`)),
    fc
      .constantFrom('{"jsonrpc":"2.0","id":1,"method":"a"}\n', "\r\n", "\n\n", "[", '{"__proto__":1}\n')
      .map((text) => Buffer.from(text)),
  );
  fc.assert(
    fc.property(
      fc.array(piece, { maxLength: 12 }),
      fc.array(fc.nat({ max: 300 }), { maxLength: 5 }),
      (pieces, cuts) => {
        const whole = Buffer.concat(pieces);
        const places = [0, ...cuts.filter((cut) => cut < whole.length).sort((a, b) => a - b), whole.length];
        const lines = read(places.slice(1).map((place, index) => whole.subarray(places[index], place)));
        expect(lines).toEqual(read([whole]));
        for (const message of lines.flatMap(parseLine)) expect(message).toMatchObject({ jsonrpc: "2.0" });
      },
    ),
    { numRuns: 500 },
  );
});

test("reports a line that is too long once, and reads nothing after it", () => {
  expect(read([Buffer.from("12345\n123456\nok\n"), Buffer.from("ok\n")], 5)).toEqual(["12345", "(overflow)"]);
  expect(read([Buffer.from("123"), Buffer.from("456"), Buffer.from("\nok\n")], 5)).toEqual(["(overflow)"]);
});

test.each([
  "nonsense",
  "null",
  "7",
  "[]",
  '{"level":30,"msg":"a log line"}',
  '{"jsonrpc":"1.0","id":1,"method":"ping"}',
  '{"jsonrpc":"2.0","id":1}',
  '{"jsonrpc":"2.0","result":{}}',
  '[1,{"jsonrpc":"2.0","id":1}]',
])("takes %s for no message", (text) => {
  expect(parseLine(text)).toEqual([]);
});

test.each([
  '{"jsonrpc":"2.0","method":"a"}',
  '{"jsonrpc":"2.0","id":"x","method":"a","params":{}}',
  '{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":""}}',
])("takes %s for a message", (text) => {
  expect(parseLine(text)).toEqual([JSON.parse(text)]);
});

test("takes a batch for its messages, each of which is written on a line of its own", () => {
  const messages = parseLine(
    '[{"jsonrpc":"2.0","id":1,"method":"a"},7,{"jsonrpc":"2.0","id":2,"result":{}},{"jsonrpc":"2.0","method":"b"}]',
  );
  expect(messages.map(textOfMessage)).toEqual([
    '{"jsonrpc":"2.0","id":1,"method":"a"}',
    '{"jsonrpc":"2.0","id":2,"result":{}}',
    '{"jsonrpc":"2.0","method":"b"}',
  ]);
});

const EXACT = '{"jsonrpc":"2.0","id":1,"result":{"n":12345678901234567890}}';

test("writes what was not touched byte for byte", () => {
  const [message] = parseLine(EXACT);
  expect(message && textOfMessage(message)).toBe(EXACT);
  // A pipeline makes a message of its own round the same result.
  expect(textOfMessage({ jsonrpc: "2.0", id: 1, result: message?.result })).toBe(EXACT);
});

test("writes anew what has another id or another result", () => {
  const [message] = parseLine(EXACT);
  expect(JSON.parse(textOfMessage({ ...message, id: 2 }))).toMatchObject({ id: 2 });
  expect(JSON.parse(textOfMessage({ ...message, result: { n: 1 } }))).toEqual({
    jsonrpc: "2.0",
    id: 1,
    result: { n: 1 },
  });
});

test("tells when the reader falls behind, and when it has caught up", async () => {
  const stream = new PassThrough({ highWaterMark: 8 });
  const flow: boolean[] = [];
  const writer = new LineWriter(stream, (isFree) => flow.push(isFree));
  const written = [1, 2].map((id) => writer.write({ jsonrpc: "2.0", id, result: {} }));
  expect(flow).toEqual([false]);
  const drained = new Promise((resolve) => stream.once("drain", resolve));
  stream.resume();
  await Promise.all([...written, drained]);
  expect(flow).toEqual([false, true]);
});

test("rejects what is written to a stream that has ended", async () => {
  const stream = new PassThrough();
  stream.on("error", () => undefined);
  const writer = new LineWriter(stream, () => undefined);
  stream.destroy();
  expect(writer.isWritable).toBe(false);
  await expect(writer.write({ jsonrpc: "2.0", method: "a" })).rejects.toThrow();
});

test("says of junk what it was, and later only how much", () => {
  const said: string[] = [];
  const junk = new JunkReport("the server", (line) => said.push(line));
  for (let count = 0; count < 150; count += 1) junk.note(count === 0 ? `\u001b[31m${"x".repeat(500)}` : "junk");
  expect(said).toHaveLength(5);
  expect(said[0]).toMatch(/^ignored a line of the server that is no JSON-RPC: "\?\[31mx{115}…"$/);
  expect(said.slice(3)).toEqual([10, 100].map((count) => `ignored ${count} lines of the server that are no JSON-RPC`));
});
