// What the ranks of save-probe.ts hold.
import type { TestLayout, TestTensor } from '#runtime/checkpoint/testing.ts';

export const probeLayout: TestLayout = { shards: 2 };

export function probeTensors(step: number): TestTensor[] {
  return (['weights', 'first', 'second'] as const).flatMap((group) =>
    Array.from({ length: 4 }, (_, index) => ({ group, name: `t${index}`, shape: [40, 24], from: 10_000 * step + 1000 * index })),
  );
}
