// What packing writes is kept in files under its version: whoever changes the bytes raises the version, and this test tells them.
import { afterAll, expect, it } from 'vitest';
import * as kernels from './binding.ts';

const stream = kernels.newStream();
afterAll(() => kernels.freeStream(stream));

const [rows, terms] = [40, 512];

/** Of the bytes that a type is packed to, from blocks that count upwards. */
async function panelDigest(type: number): Promise<number> {
  const rowBytes = kernels.quantizedBytes(type, terms);
  const blocks = kernels.tensorNew('u8', [rows, rowBytes]);
  const panels = kernels.tensorNew('u8', [kernels.quantizedPanelBytes(type, rows, terms)]);
  kernels.tensorWrite(
    stream,
    blocks,
    Uint8Array.from({ length: rows * rowBytes }, (_, at) => (at * 7 + (at >> 8)) & 0x3f),
  );
  kernels.ops.quantized_pack(stream, blocks, panels, type, terms);
  const found = await kernels.digest(stream, Uint32Array.of(panels));
  for (const each of [blocks, panels]) kernels.tensorFree(each);
  return found;
}

it('quantised weights are packed to the bytes of version 1', async () => {
  const types = { F16: 1, Q4_0: 2, Q4_1: 3, Q5_0: 6, Q5_1: 7, Q8_0: 8, Q4_K: 12, Q5_K: 13, Q6_K: 14, BF16: 30 };
  const digests: Record<string, number> = { version: kernels.packVersion };
  for (const [name, type] of Object.entries(types)) digests[name] = await panelDigest(type);
  expect(digests).toMatchInlineSnapshot(`
    {
      "BF16": 662378097,
      "F16": 662378097,
      "Q4_0": 1088039184,
      "Q4_1": 126756482,
      "Q4_K": 781054813,
      "Q5_0": 3370860874,
      "Q5_1": 386636568,
      "Q5_K": 420607035,
      "Q6_K": 145289996,
      "Q8_0": 3349924188,
      "version": 1,
    }
  `);
});
