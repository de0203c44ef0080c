// What is told of bytes on their way: `1.2 GB of 2.8 GB  34 MB/s  ETA 45s`.
import { formatBytes, formatDuration } from './format.ts';

export interface Transfer {
  readonly bytes?: number | undefined;
  readonly totalBytes?: number | undefined;
  readonly bytesPerSecond?: number | undefined;
  readonly etaSeconds?: number | undefined;
  readonly trouble?: string | undefined;
}

export function transferText({ bytes = 0, totalBytes, bytesPerSecond, etaSeconds }: Transfer): string {
  const parts = [totalBytes === undefined ? formatBytes(bytes) : `${formatBytes(bytes)} of ${formatBytes(totalBytes)}`];
  if (bytesPerSecond !== undefined) parts.push(`${formatBytes(bytesPerSecond)}/s`);
  if (etaSeconds !== undefined) parts.push(`ETA ${formatDuration(etaSeconds)}`);
  return parts.join('  ');
}
