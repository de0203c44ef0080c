// Rotary positions in config.json: older files have `rope_theta` and `rope_scaling`, newer ones `rope_parameters`.
import type { RopeScaling } from '../config.ts';
import type { ConfigReader } from './config-reader.ts';

export interface Rope {
  readonly theta: number;
  readonly scaling?: RopeScaling;
}

/** Reads both ways of writing it. `contextLength`: what a missing original_max_position_embeddings stands for. */
export function readRope(read: ConfigReader, fallback: number, contextLength: number): Rope {
  const parameters = read.record('rope_parameters');
  const scaling =
    readScaling(read, 'rope_scaling', read.record('rope_scaling'), contextLength) ??
    readScaling(read, 'rope_parameters', parameters, contextLength);
  const theta = parameters?.['rope_theta'] ?? undefined;
  if (theta !== undefined && (typeof theta !== 'number' || !(theta >= 1)))
    throw read.fault('rope_parameters', 'one with a rope_theta from 1');
  return { theta: theta ?? read.number('rope_theta', fallback, 1), ...(scaling ? { scaling } : {}) };
}

/** The scaling that an object under `key` asks for. */
export function readScaling(
  read: ConfigReader,
  key: string,
  rope: Readonly<Record<string, unknown>> | undefined,
  contextLength: number,
): RopeScaling | undefined {
  const type = rope?.['rope_type'] ?? rope?.['type'];
  if (rope?.['partial_rotary_factor'] !== undefined && rope['partial_rotary_factor'] !== 1) {
    throw read.fault(key, 'without a partial_rotary_factor');
  }
  if (!rope || type === undefined || type === 'default') return undefined;
  if (type !== 'linear' && type !== 'llama3') {
    throw read.fault(key, 'of type "default", "linear" or "llama3": no other is supported');
  }
  const number = (name: string, fallback?: number): number => {
    const value = rope[name] ?? fallback;
    if (typeof value === 'number' && Number.isFinite(value) && value > 0) return value;
    throw read.fault(key, `one with a ${name} above 0`);
  };
  if (type === 'linear') return { kind: 'linear', factor: number('factor') };
  const scaling: RopeScaling = {
    kind: 'llama3',
    factor: number('factor'),
    lowFrequencyFactor: number('low_freq_factor'),
    highFrequencyFactor: number('high_freq_factor'),
    originalContextLength: number('original_max_position_embeddings', contextLength),
  };
  if (scaling.lowFrequencyFactor < scaling.highFrequencyFactor) return scaling;
  throw read.fault(key, 'one whose low_freq_factor is below its high_freq_factor');
}

/** The keys of `scaling`, without the base. */
export function scalingKeys(scaling: RopeScaling | undefined): Record<string, unknown> {
  if (!scaling) return { rope_type: 'default' };
  const { kind, factor } = scaling;
  if (kind === 'linear') return { factor, rope_type: kind };
  return {
    factor,
    high_freq_factor: scaling.highFrequencyFactor,
    low_freq_factor: scaling.lowFrequencyFactor,
    original_max_position_embeddings: scaling.originalContextLength,
    rope_type: kind,
  };
}

/** All keys, old and new. */
export function ropeKeys({ theta, scaling }: Rope): Record<string, unknown> {
  return {
    rope_parameters: { rope_theta: theta, ...scalingKeys(scaling) },
    rope_scaling: scaling ? scalingKeys(scaling) : null,
    rope_theta: theta,
  };
}
