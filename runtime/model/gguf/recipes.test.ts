import { expect, it } from 'vitest';
import { recipeType } from './recipes.ts';
import type { RecipeName } from './recipes.ts';

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
