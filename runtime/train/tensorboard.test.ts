import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { openTensorBoard } from './tensorboard.ts';

const onTrouble = (error: Error) => {
  throw error;
};

it('writes the bytes that TensorBoard reads: version record and masked CRC-32C as the format asks', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'wl-tb-'));
  try {
    const writer = await openTensorBoard(folder, { resumeStep: 0, seconds: () => 1_700_000_000, onTrouble });
    const [name = ''] = await readdir(folder);
    writer.scalars(300, { 'train/loss': 2.25 });
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

it('tells viewers of a resumed run to drop the steps that are repeated', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'wl-tb-'));
  try {
    const writer = await openTensorBoard(folder, { resumeStep: 4, seconds: () => 1_700_000_000, onTrouble });
    await writer.close();
    const [name = ''] = await readdir(folder);
    const start = (await readFile(join(folder, name))).subarray(40);
    expect(start.subarray(21, 23).toString('hex')).toBe('1005');
    expect(start.subarray(23, -4).toString('hex')).toBe('3a020801');
  } finally {
    await rm(folder, { recursive: true });
  }
});

it('tells viewers to drop the steps of a run that goes back, to its beginning too', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'wl-tb-'));
  try {
    const writer = await openTensorBoard(folder, { resumeStep: 0, seconds: () => 1_700_000_000, onTrouble });
    writer.goBack(0);
    await writer.close();
    const [name = ''] = await readdir(folder);
    const start = (await readFile(join(folder, name))).subarray(40);
    expect(start.subarray(21, 23).toString('hex')).toBe('1001');
    expect(start.subarray(23, -4).toString('hex')).toBe('3a020801');
  } finally {
    await rm(folder, { recursive: true });
  }
});
