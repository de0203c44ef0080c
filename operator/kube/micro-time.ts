// MicroTime of the API, which Leases and Events need.

/** Six fractional digits: three are refused. */
export function microTime(ms: number): string {
  return new Date(ms).toISOString().replace('Z', '000Z');
}
