// Finding what to read takes time in proportion to what is read, not to the product of stored and wanted shards.
import { expect, it } from 'vitest';
import { elementsOf, flatRangeBoxes, wholeBox } from './box.ts';
import type { Chunk } from './manifest.ts';
import { ChunkIndex, planReads } from './read-plan.ts';
import { Target } from './target.ts';

const [tensors, savedShards, loadedShards] = [1000, 128, 96];
const newTarget = () => new Target({ write: () => {} }, 0);

function flatShard(shape: readonly number[], shard: number, shards: number): [begin: number, end: number] {
  const elements = elementsOf(shape);
  return [Math.floor((shard * elements) / shards), Math.floor(((shard + 1) * elements) / shards)];
}

/** The chunks of a tensor of which each of `savedShards` ranks wrote a flat shard, in the order of the ranks. */
function savedChunks(shape: readonly number[]): Chunk[] {
  return Array.from({ length: savedShards }, (_, shard) =>
    flatRangeBoxes(wholeBox(shape), ...flatShard(shape, shard, savedShards)).map(({ box }) => ({
      offsets: [...box.offsets],
      sizes: [...box.sizes],
      file: 'rank-00000-00000.safetensors',
      begin: 0,
      end: 0,
      crc32: 0,
    })),
  ).flat();
}

it(`plans the reads of ${tensors} tensors from ${savedShards} to ${loadedShards} shards`, async ({ annotate }) => {
  const shapes = Array.from({ length: tensors }, (_, index) => [1000 + index, 96]);
  const stored = shapes.map(savedChunks);
  const plan = (shard: number) => {
    let [reads, examined] = [0, 0];
    for (const [at, shape] of shapes.entries()) {
      const index = new ChunkIndex(stored[at]!);
      const [begin, end] = flatShard(shape, shard, loadedShards);
      const planned = planReads(index, [{ box: wholeBox(shape), begin, end, target: newTarget() }]);
      expect(planned.missing).toBe(0);
      reads += planned.reads.length;
      examined += index.examined;
    }
    return { reads, examined };
  };
  const times: number[] = [];
  for (const shard of [0, 17, 47, 95]) {
    const start = performance.now();
    const { reads, examined } = plan(shard);
    times.push(performance.now() - start);
    // Each of at most 3 boxes meets the chunks that share a row with it: its own and one beyond at each end.
    expect(examined).toBeLessThanOrEqual(2.5 * reads);
    expect(examined).toBeLessThanOrEqual(tensors * 15);
  }
  await annotate(`${stored.flat().length} chunks; the plan of a rank takes ${times.map((ms) => ms.toFixed(0)).join(', ')} ms`);
});

it('does not compare the columns of others where a tensor was divided by columns', () => {
  const columns = 64;
  const chunks = Array.from({ length: columns }, (_, part) => ({
    offsets: [0, part * 8],
    sizes: [512, 8],
    file: 'rank-00000-00000.safetensors',
    begin: 0,
    end: 0,
    crc32: 0,
  }));
  const index = new ChunkIndex(chunks);
  const box = { offsets: [0, 200], sizes: [512, 16] };
  expect(planReads(index, [{ box, begin: 0, end: 512 * 16, target: newTarget() }])).toMatchObject({
    missing: 0,
    reads: { length: 2 },
  });
  expect(index.examined).toBe(2);
});
