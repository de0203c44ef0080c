import { expect, test } from 'vitest';
import { newModelConfig } from '#runtime/model/families/families.ts';
import { parameterSpecs } from '#runtime/model/parameters.ts';
import { modelStages } from './layout-stages.ts';
import { unitsOf } from './layout-units.ts';

test('an embedding goes with the first blocks, and a head of a large vocabulary counts as blocks do', () => {
  const size = { hiddenSize: 192, layers: 6, heads: 6 };
  const config = newModelConfig('llama', size, { vocabularySize: 4096, trainingLength: 128 });
  const names = unitsOf(config).map(({ name }) => name);
  expect(modelStages(config, 128, 3).map(([first, end]) => names.slice(first, end).join(' '))).toMatchInlineSnapshot(`
    [
      "embedding blocks.0 blocks.1",
      "blocks.2 blocks.3 blocks.4",
      "blocks.5 head",
    ]
  `);
});

test('units hold every parameter of a model once', () => {
  for (const family of ['gpt2', 'llama'] as const) {
    const config = newModelConfig(family, { hiddenSize: 32, layers: 12, heads: 2 }, { vocabularySize: 64, trainingLength: 8 });
    expect(unitsOf(config).flatMap(({ parameters }) => parameters)).toEqual(parameterSpecs(config));
  }
});
