// Numbers and texts as they stand in drawings.

/** A coordinate: two decimals at most. */
export function coordinate(value: number): string {
  return String(Math.round(value * 100) / 100);
}

/** A time: three significant digits, or all before the point, without trailing zeros. */
export function time(value: number, unit: string): string {
  const digits = Math.max(3, Math.ceil(Math.log10(Math.abs(value) + 1)));
  return `${Number(value.toPrecision(digits))}${unit && ` ${unit}`}`;
}

export function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}

/** 1, 2 or 5 times a power of ten, so that the length has at most `most` steps. */
export function tickStep(length: number, most: number): number {
  if (!(length > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(length / most));
  return [1, 2, 5, 10].map((factor) => factor * power).find((step) => length / step <= most) ?? 10 * power;
}

export function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
