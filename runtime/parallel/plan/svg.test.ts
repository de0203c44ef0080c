import { expect, test } from 'vitest';
import { newModelConfig } from '#runtime/model/families/families.ts';
import { noParallelism } from '../parallelism.ts';
import type { Parallelism } from '../parallelism.ts';
import { planJob } from './plan.ts';
import { planSvg } from './svg.ts';

const model = newModelConfig(
  'llama',
  { hiddenSize: 64, layers: 8, heads: 4, intermediateSize: 256 },
  { vocabularySize: 512, trainingLength: 32 },
);

function drawn(axes: Partial<Parallelism>): string {
  const batch = { sequences: 512, length: 32, grains: 512 };
  return planSvg('a <job>', planJob({ model, batch, parallelism: { ...noParallelism, ...axes }, recompute: 'none' }));
}

const fills = (svg: string) => [...svg.matchAll(/rx="4" fill="(#[0-9a-f]{6})"/g)].map(([, fill]) => fill);

test('replicas have the colours of each other, shards and stages have colours of their own', () => {
  const colours = fills(drawn({ pipeline: 2, dataReplicate: 2, dataShard: 2 }));
  expect(colours).toHaveLength(8);
  expect(colours.slice(0, 2)).toEqual(colours.slice(2, 4));
  expect(new Set(colours).size).toBe(4);
});

test('a world of many replicas shows some of them and says how many there are', () => {
  const svg = drawn({ dataReplicate: 256, tensor: 4 });
  expect(fills(svg)).toHaveLength(128);
  expect(svg).toContain('224 more replicas like these');
});

test('text is escaped, and every bar stays within its box', () => {
  const svg = drawn({ pipeline: 4, tensor: 2 });
  expect(svg).toContain('a &lt;job&gt;: 8 ranks');
  expect(svg).not.toContain('<job>');
  const boxes = [...svg.matchAll(/<rect x="(\d+)" y="(\d+)" width="(\d+)"[^>]*rx="4"/g)].map((match) =>
    match.slice(1).map(Number),
  );
  const bars = [...svg.matchAll(/<rect x="([\d.]+)" y="(\d+)" width="([\d.]+)" height="12"/g)].map((match) =>
    match.slice(1).map(Number),
  );
  expect(bars).toHaveLength(4 * 8);
  for (const [x, , width] of bars) {
    expect(boxes.some(([left, , wide]) => x! >= left! && x! + width! <= left! + wide!)).toBe(true);
  }
});
