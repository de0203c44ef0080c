// Writes TensorBoard event files: TFRecord frames (length, masked CRC-32C, payload, masked CRC-32C) around protobuf Event messages.
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { WindlassError } from '#runtime/api/errors.ts';
import { AppendFile } from './append-file.ts';

export interface TensorBoardWriter {
  /** Appends one event with a scalar per tag, in the background. */
  scalars(step: number, values: Record<string, number>): void;
  /** Viewers are told to drop what came after this step. */
  goBack(step: number): void;
  flush(): Promise<void>;
  close(): Promise<void>;
}

export interface TensorBoardOptions {
  /** Events of later steps in older files of the folder no longer count: viewers are told to drop them. 0: a new run. */
  readonly resumeStep: number;
  /** Unix time. */
  readonly seconds: () => number;
  readonly onTrouble: (error: WindlassError) => void;
}

/** Opens a new event file in `folder`, named after the time of this start of the job. */
export async function openTensorBoard(folder: string, options: TensorBoardOptions): Promise<TensorBoardWriter> {
  await mkdir(folder, { recursive: true });
  const start = options.seconds();
  const file = await AppendFile.open(join(folder, `events.out.tfevents.${Math.floor(start)}.windlass`), options.onTrouble);
  const write = (payload: Buffer) => file.append(frame(payload));
  write(event(start, undefined, stringField(3, 'brain.Event:2')));
  const goBack = (step: number) => write(event(options.seconds(), step + 1, bytesField(7, Buffer.from(sessionStart))));
  if (options.resumeStep > 0) goBack(options.resumeStep);
  return {
    goBack,
    scalars(step, values) {
      const summary = Buffer.concat(
        Object.entries(values).map(([tag, value]) => bytesField(1, Buffer.concat([stringField(1, tag), floatField(2, value)]))),
      );
      write(event(options.seconds(), step, bytesField(5, summary)));
    },
    flush: () => file.flush(),
    close: () => file.close(),
  };
}

/** SessionLog {status: START}: from the step of its event on, a viewer forgets what came before. */
const sessionStart = [1 << 3, 1];

function event(seconds: number, step: number | undefined, what: Buffer): Buffer {
  const time = Buffer.alloc(9);
  time[0] = (1 << 3) | 1;
  time.writeDoubleLE(seconds, 1);
  return Buffer.concat([time, ...(step === undefined ? [] : [Buffer.from([2 << 3]), varint(step)]), what]);
}

function stringField(field: number, text: string): Buffer {
  return bytesField(field, Buffer.from(text));
}

function bytesField(field: number, bytes: Buffer): Buffer {
  return Buffer.concat([Buffer.from([(field << 3) | 2]), varint(bytes.length), bytes]);
}

function floatField(field: number, value: number): Buffer {
  const bytes = Buffer.alloc(5);
  bytes[0] = (field << 3) | 5;
  bytes.writeFloatLE(value, 1);
  return bytes;
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  while (rest >= 128) {
    bytes.push((rest % 128) | 128);
    rest = Math.floor(rest / 128);
  }
  return Buffer.from([...bytes, rest]);
}

function frame(payload: Buffer): Buffer {
  const head = Buffer.alloc(12);
  head.writeBigUInt64LE(BigInt(payload.length));
  head.writeUInt32LE(maskedCrc(head.subarray(0, 8)), 8);
  const tail = Buffer.alloc(4);
  tail.writeUInt32LE(maskedCrc(payload));
  return Buffer.concat([head, payload, tail]);
}

const crcTable = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  return crc;
});

/** CRC-32C (Castagnoli), rotated and offset as the TFRecord format asks. */
function maskedCrc(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (crcTable[(crc ^ byte) & 255] ?? 0) ^ (crc >>> 8);
  crc = (crc ^ 0xffffffff) >>> 0;
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}
