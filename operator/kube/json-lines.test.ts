import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { jsonLines } from './json-lines.ts';

async function* sent(...chunks: Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* chunks;
}

async function all(chunks: AsyncIterable<Uint8Array>): Promise<unknown[]> {
  const values: unknown[] = [];
  for await (const value of jsonLines(chunks)) values.push(value);
  return values;
}

describe('lines of JSON', () => {
  it('are the same, wherever the stream is cut into chunks', async () => {
    const value = fc.jsonValue({ maxDepth: 3 });
    const cut = fc.array(fc.nat({ max: 60 }), { maxLength: 20 });
    await fc.assert(
      fc.asyncProperty(fc.array(value, { maxLength: 8 }), cut, async (values, sizes) => {
        const bytes = Buffer.from(values.map((one) => `${JSON.stringify(one)}\n`).join(''));
        const chunks: Uint8Array[] = [];
        let at = 0;
        for (const size of sizes) {
          chunks.push(bytes.subarray(at, at + size));
          at += size;
        }
        chunks.push(bytes.subarray(at));
        expect(await all(sent(...chunks))).toEqual(values.map((one) => JSON.parse(JSON.stringify(one)) as unknown));
      }),
    );
  });

  it('let others have their turn, however many come at once', async () => {
    let turns = 0;
    let isOver = false;
    const turn = () => {
      turns += 1;
      if (!isOver) setImmediate(turn);
    };
    setImmediate(turn);
    const line = JSON.stringify({ type: 'ADDED', object: { metadata: { name: 'x', labels: { a: 'b', c: 'd' } } } });
    const values = await all(sent(Buffer.from(`${line}\n`.repeat(200_000))));
    isOver = true;
    expect(values).toHaveLength(200_000);
    expect(turns).toBeGreaterThan(1);
  });

  it('that do not end are refused before they fill the memory', async () => {
    const endless = async function* () {
      for (;;) yield Buffer.alloc(2 ** 20, 'x');
    };
    await expect(all(endless())).rejects.toThrow('a line of the watch is longer than 16777216 bytes');
  });
});
