import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { ModelConfig } from '../config.ts';
import { quantizeModel } from '../quantize-model.ts';
import { syntheticWeights, tinyLlama } from '../testing.ts';
import { openGguf } from './file.ts';
import { openGgufModel } from './open-model.ts';
import { recipeType, recipes } from './recipes.ts';
import type { RecipeName } from './recipes.ts';
import { describeModel, saveGguf } from './save-model.ts';

/** The types of a tensor in all layers, one letter or number each. */
const inLayers = (recipe: RecipeName, role: string, layers: number, columns = 2048) =>
  Array.from({ length: layers }, (_, layer) =>
    recipeType(recipe, `blk.${layer}.${role}.weight`, columns, { layers, isTied: false }).replace(/^Q(\d).*/, '$1'),
  ).join('');

it('gives more bits to the layers that llama.cpp gives more to', () => {
  expect(inLayers('Q4_K_M', 'attn_v', 22)).toBe('6644644644644644644666');
  expect(inLayers('Q4_K_M', 'ffn_down', 32)).toBe('66664464464464464464464464466666');
  expect(inLayers('Q5_K_M', 'ffn_down', 22)).toBe('6655655655655655655666');
  expect(inLayers('Q4_K_S', 'attn_v', 22)).toBe('5555444444444444444444');
  expect(inLayers('Q4_K_S', 'ffn_down', 22)).toBe('5544444444444444444444');
  expect(inLayers('Q5_K_S', 'attn_v', 6)).toBe('555555');
  expect(inLayers('Q4_K_M', 'attn_q', 6)).toBe('444444');
});

it('gives the head, or the embedding that stands in for it, six bits or eight', () => {
  const head = (recipe: RecipeName, columns: number, isTied = false) =>
    recipeType(recipe, isTied ? 'token_embd.weight' : 'output.weight', columns, { layers: 2, isTied });
  expect([head('Q4_0', 2048), head('Q4_0', 576), head('Q4_K_M', 2048), head('Q8_0', 2048)]).toEqual([
    'Q6_K',
    'Q8_0',
    'Q6_K',
    'Q8_0',
  ]);
  expect([head('Q4_K_M', 576, true), head('F16', 576, true)]).toEqual(['Q8_0', 'F16']);
  expect(recipeType('Q4_K_M', 'token_embd.weight', 2048, { layers: 2, isTied: false })).toBe('Q4_K');
});

it('takes smaller blocks where rows are no whole larger ones, and f16 where they are none at all', () => {
  const type = (recipe: RecipeName, columns: number) =>
    recipeType(recipe, 'blk.0.attn_q.weight', columns, { layers: 2, isTied: false });
  expect([type('Q4_K_M', 576), type('Q5_K_M', 576), type('Q6_K', 576)]).toEqual(['Q5_0', 'Q5_1', 'Q8_0']);
  expect([type('Q4_K_M', 40), type('Q4_0', 40)]).toEqual(['F16', 'F16']);
});

it('writes a recipe so that it is read again, metadata and all, and says what each layer lost', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'wl-recipes-'));
  try {
    const config: ModelConfig = {
      ...tinyLlama,
      hiddenSize: 256,
      headSize: 64,
      heads: 4,
      kvHeads: 2,
      intermediateSize: 256,
      layers: 1,
    };
    const tokenizer = {
      model: { type: 'BPE', vocab: { a: 1, b: 2, ab: 3 }, merges: [['a', 'b']] },
      added_tokens: [{ id: 0, content: '<|endoftext|>', special: true }],
      pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, use_regex: true },
    };
    const source = { ...syntheticWeights(config), read: async (name: string) => wave(name, config) };
    const from = join(folder, 'f32.gguf');
    await saveGguf(source, from, 'F32', describeModel(config, { name: 'm', tokenizer, chatTemplate: '{{ messages }}' }));
    for (const recipe of ['F16', 'Q8_0', 'Q4_K_M'] as const) {
      const to = join(folder, `${recipe}.gguf`);
      const lines: string[] = [];
      await quantizeModel({ from, to, recipe, write: (line) => lines.push(line) });
      expect(lines).toHaveLength(5);
      const [original, quantized] = [await openGguf(from), await openGguf(to)];
      const keys = [...quantized.metadata.keys()].filter((key) => key !== 'general.quantization_version');
      expect(keys, recipe).toEqual([...original.metadata.keys()]);
      expect(quantized.metadata.get('general.file_type')).toMatchObject({ value: recipes[recipe].fileType });
      const model = await openGgufModel(to);
      expect([model.config, model.vocabulary.chatTemplate]).toEqual([config, '{{ messages }}']);
      const [values, wanted] = [await model.read('blocks.0.mlp.down.weight'), wave('blocks.0.mlp.down.weight', config)];
      const error = Math.sqrt(values.reduce((sum, value, at) => sum + (value - wanted[at]!) ** 2, 0) / values.length);
      expect(error, recipe).toBeLessThan(0.08);
      if (recipe === 'Q4_K_M')
        expect(lines.slice(1, 3)).toMatchInlineSnapshot(`
        [
          "token_embd.weight   Q6_K                  1.19 %",
          "blk.0               Q4_K Q6_K             4.14 %   attn_k.weight 4.74 %, at most 0.091 off",
        ]
      `);
      await Promise.all([original.close(), quantized.close(), model.close()]);
    }
  } finally {
    await rm(folder, { recursive: true });
  }
});

/** Values between -1 and 1. */
function wave(name: string, config: ModelConfig): Float32Array {
  const sizes = { 'embedding.tokens': config.vocabularySize * 256 } as Record<string, number>;
  const kv = /attention\.(key|value)/.test(name) ? 128 * 256 : undefined;
  const size = sizes[name] ?? kv ?? (name.includes('Norm') ? 256 : 256 * 256);
  return Float32Array.from({ length: size }, (_, at) => Math.sin(at * 0.37 + name.length));
}

it('refuses a target that is no GGUF file', async () => {
  const quantizing = quantizeModel({ from: 'x.gguf', to: 'folder', recipe: 'Q4_0', write: () => {} });
  await expect(quantizing).rejects.toMatchObject({ code: 'WL_MANIFEST_INVALID' });
});
