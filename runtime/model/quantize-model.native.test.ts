// `windlass quantize` as a whole: the file is read again, and each layer's loss is said.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import type { ModelConfig } from './config.ts';
import { openGguf } from './gguf/file.ts';
import { openGgufModel } from './gguf/open-model.ts';
import { recipes } from './gguf/recipes.ts';
import { describeModel, saveGguf } from './gguf/save-model.ts';
import { quantizeModel } from './quantize-model.ts';
import { syntheticWeights, tinyLlama } from './testing.ts';

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
