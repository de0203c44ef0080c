// How numbers are shown to people: durations, counts, bars, curves.

/** 45s, 3m 05s, 2h 07m, 4d 03h. */
export function formatDuration(seconds: number): string {
  const total = Math.max(0, Math.round(seconds));
  const two = (value: number) => String(value).padStart(2, '0');
  if (total < 60) return `${total}s`;
  if (total < 3600) return `${Math.floor(total / 60)}m ${two(total % 60)}s`;
  if (total < 86_400) return `${Math.floor(total / 3600)}h ${two(Math.floor((total % 3600) / 60))}m`;
  return `${Math.floor(total / 86_400)}d ${two(Math.floor((total % 86_400) / 3600))}h`;
}

/** 512, 7,120, 3.4M, 1.2G. */
export function formatCount(value: number): string {
  if (value < 1e5) return Math.round(value).toLocaleString('en-US');
  const [scale, unit] = value < 1e6 ? [1e3, 'k'] : value < 1e9 ? [1e6, 'M'] : [1e9, 'G'];
  return `${(value / scale).toFixed(1)}${unit}`;
}

/** 512 B, 41 kB, 431 MB, 1.2 GB. */
export function formatBytes(bytes: number): string {
  if (bytes < 1e3) return `${Math.round(bytes)} B`;
  const [scale, unit] = bytes < 1e6 ? [1e3, 'kB'] : bytes < 1e9 ? [1e6, 'MB'] : [1e9, 'GB'];
  return `${(bytes / scale).toFixed(scale === 1e9 ? 1 : 0)} ${unit}`;
}

/** A bar of `width` cells, filled to `share` (0 to 1) in eighths of a cell. */
export function bar(share: number, width: number): string {
  const eighths = Math.round(Math.min(1, Math.max(0, share)) * width * 8);
  const full = '█'.repeat(Math.floor(eighths / 8));
  const part = eighths % 8 === 0 ? '' : ' ▏▎▍▌▋▊▉'[eighths % 8];
  return (full + part).padEnd(width, '░');
}

/** A curve of at most `width` cells: the mean of equal parts of `values`, from lowest to highest block. */
export function curve(values: readonly number[], width: number): string {
  const cells = Math.min(width, values.length);
  const means = Array.from({ length: cells }, (_, cell) => {
    const part = values.slice(Math.floor((cell * values.length) / cells), Math.floor(((cell + 1) * values.length) / cells));
    return part.reduce((sum, value) => sum + value, 0) / part.length;
  });
  const [low, high] = [Math.min(...means), Math.max(...means)];
  return means.map((mean) => '▁▂▃▄▅▆▇█'[high === low ? 0 : Math.round(((mean - low) / (high - low)) * 7)]).join('');
}

/** Cuts `text` to `width` columns, with an ellipsis. Counts code points, which is right for what we print. */
export function fit(text: string, width: number): string {
  const points = [...text];
  return points.length <= width ? text : `${points.slice(0, Math.max(0, width - 1)).join('')}…`;
}

/** Breaks `text` into lines of at most `width` columns, between words where there are any; runs of white space become one space. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.trim().split(/\s+/)) {
    const points = [...word];
    const joined = line === '' ? word : `${line} ${word}`;
    if ([...joined].length <= width) line = joined;
    else {
      if (line !== '') lines.push(line);
      while (points.length > width) lines.push(points.splice(0, width).join(''));
      line = points.join('');
    }
  }
  return line === '' ? lines : [...lines, line];
}

/** Rows of cells as columns two spaces apart; the header comes first. Trailing spaces are cut. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows)
    for (const [column, cell] of row.entries()) widths[column] = Math.max(widths[column] ?? 0, [...cell].length);
  const pad = (cell: string, column: number) => cell + ' '.repeat((widths[column] ?? 0) - [...cell].length);
  return rows.map((row) => `${row.map(pad).join('  ').trimEnd()}\n`).join('');
}
