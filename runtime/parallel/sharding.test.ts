import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { newModelConfig } from '#runtime/model/families/families.ts';
import { parameterSpecs } from '#runtime/model/parameters.ts';
import { boxElements, isTensorSharded, ownsInNorm, tensorBox, vocabularySpan } from './sharding.ts';
import type { Box } from './sharding.ts';

const size = { hiddenSize: 64, layers: 2, heads: 8, intermediateSize: 256 };
const surroundings = { vocabularySize: 203, trainingLength: 32 };
const models = {
  gpt2: newModelConfig('gpt2', size, surroundings),
  llama: newModelConfig('llama', { ...size, tieEmbeddings: false }, surroundings),
};

describe.each(Object.entries(models))('%s', (_, config) => {
  test.each([1, 2, 4, 8])(
    'boxes of %i ranks hold every element of a sharded parameter once, and of the others on each rank',
    (ranks) => {
      for (const spec of parameterSpecs(config)) {
        const boxes = Array.from({ length: ranks }, (_, rank) => tensorBox(spec, rank, ranks));
        const copies = isTensorSharded(spec) ? 1 : ranks;
        expect(new Set(holders(spec.shape, boxes)), spec.name).toEqual(new Set([copies]));
        expect(boxes.reduce((sum, box) => sum + boxElements(box), 0)).toBe(copies * spec.shape.reduce((a, b) => a * b, 1));
      }
    },
  );

  test('each element counts once in a norm over all ranks', () => {
    for (const spec of parameterSpecs(config)) {
      const counted = [0, 1, 2, 3].filter((rank) => ownsInNorm(spec, rank)).map((rank) => tensorBox(spec, rank, 4));
      expect(new Set(holders(spec.shape, counted)), spec.name).toEqual(new Set([1]));
    }
  });
});

test('heads, kvHeads, intermediate and vocabulary are cut; hidden and positions are not', () => {
  const shown = [...parameterSpecs(models.gpt2), ...parameterSpecs(models.llama)]
    .filter(({ name }) => !name.startsWith('blocks.1'))
    .map((spec) => {
      const { offsets, sizes } = tensorBox(spec, 1, 2);
      return `${spec.name} [${spec.shape.join(', ')}] -> [${sizes.map((n, dim) => `${offsets[dim]}+${n}`).join(', ')}]`;
    });
  expect(shown).toMatchInlineSnapshot(`
    [
      "embedding.tokens [203, 64] -> [96+107, 0+64]",
      "embedding.positions [32, 64] -> [0+32, 0+64]",
      "blocks.0.attentionNorm.weight [64] -> [0+64]",
      "blocks.0.attentionNorm.bias [64] -> [0+64]",
      "blocks.0.attention.query.weight [64, 64] -> [32+32, 0+64]",
      "blocks.0.attention.query.bias [64] -> [32+32]",
      "blocks.0.attention.key.weight [64, 64] -> [32+32, 0+64]",
      "blocks.0.attention.key.bias [64] -> [32+32]",
      "blocks.0.attention.value.weight [64, 64] -> [32+32, 0+64]",
      "blocks.0.attention.value.bias [64] -> [32+32]",
      "blocks.0.attention.output.weight [64, 64] -> [0+64, 32+32]",
      "blocks.0.attention.output.bias [64] -> [0+64]",
      "blocks.0.mlpNorm.weight [64] -> [0+64]",
      "blocks.0.mlpNorm.bias [64] -> [0+64]",
      "blocks.0.mlp.up.weight [256, 64] -> [128+128, 0+64]",
      "blocks.0.mlp.up.bias [256] -> [128+128]",
      "blocks.0.mlp.down.weight [64, 256] -> [0+64, 128+128]",
      "blocks.0.mlp.down.bias [64] -> [0+64]",
      "finalNorm.weight [64] -> [0+64]",
      "finalNorm.bias [64] -> [0+64]",
      "embedding.tokens [203, 64] -> [96+107, 0+64]",
      "blocks.0.attentionNorm.weight [64] -> [0+64]",
      "blocks.0.attention.query.weight [64, 64] -> [32+32, 0+64]",
      "blocks.0.attention.key.weight [64, 64] -> [32+32, 0+64]",
      "blocks.0.attention.value.weight [64, 64] -> [32+32, 0+64]",
      "blocks.0.attention.output.weight [64, 64] -> [0+64, 32+32]",
      "blocks.0.mlpNorm.weight [64] -> [0+64]",
      "blocks.0.mlp.gate.weight [256, 64] -> [128+128, 0+64]",
      "blocks.0.mlp.up.weight [256, 64] -> [128+128, 0+64]",
      "blocks.0.mlp.down.weight [64, 256] -> [0+64, 128+128]",
      "finalNorm.weight [64] -> [0+64]",
      "head [203, 64] -> [96+107, 0+64]",
    ]
  `);
});

test('the spans of a vocabulary are whole units of 16 and follow each other, whatever its size', () => {
  fc.assert(
    fc.property(fc.integer({ min: 113, max: 60_000 }), fc.constantFrom(1, 2, 4, 8), (vocabulary, ranks) => {
      let next = 0;
      for (let rank = 0; rank < ranks; rank += 1) {
        const [begin, end] = vocabularySpan(vocabulary, rank, ranks);
        expect(begin).toBe(next);
        expect(begin % 16).toBe(0);
        expect(end).toBeGreaterThan(begin);
        next = end;
      }
      expect(next).toBe(vocabulary);
    }),
  );
});

/** How many boxes hold each element of a parameter. */
function holders(shape: readonly number[], boxes: readonly Box[]): Uint8Array {
  const columns = shape[1] ?? 1;
  const counts = new Uint8Array(shape[0]! * columns);
  for (const { offsets, sizes } of boxes) {
    const [firstColumn, width] = [offsets[1] ?? 0, sizes[1] ?? 1];
    for (let row = offsets[0]!; row < offsets[0]! + sizes[0]!; row += 1) {
      for (let column = firstColumn; column < firstColumn + width; column += 1) counts[row * columns + column]! += 1;
    }
  }
  return counts;
}
