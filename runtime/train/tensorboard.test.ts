import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { openTensorBoard } from './tensorboard.ts';

it('writes the bytes that TensorBoard reads: version record and masked CRC-32C as the format asks', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'wl-tb-'));
  try {
    const writer = await openTensorBoard(folder, 1_700_000_000);
    const [name = ''] = await readdir(folder);
    await writer.scalars(300, { 'train/loss': 2.25 });
    await writer.close();
    const bytes = await readFile(join(folder, name));
    const version = bytes.subarray(0, 40).toString('hex');
    expect(version).toBe('1800000000000000a37f4b220900000040fc54d9411a0d627261696e2e4576656e743a32eced8f9d');
    const second = bytes.subarray(40);
    expect(Number(second.readBigUInt64LE()) + 16).toBe(second.length);
    expect(second.subarray(21, 24).toString('hex')).toBe('10ac02');
    expect(second.subarray(24, -4).toString('hex')).toBe('2a130a110a0a747261696e2f6c6f73731500001040');
  } finally {
    await rm(folder, { recursive: true });
  }
});
