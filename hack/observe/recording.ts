// Series as they were read from /metrics at even times: parsed from the pages, and kept as text in the notation of promtool's tests.

/** Labels in the order of their names, `__name__` aside. */
export interface Series {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  /** One for each reading; undefined where the series was not there. */
  readonly values: readonly (number | undefined)[];
}

export interface Recording {
  readonly intervalSeconds: number;
  readonly series: readonly Series[];
}

export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

const sampleLine = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)$/;
const labelPair = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)",?/g;

/** The samples of a page. */
export function parsePage(text: string): Sample[] {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return lines.map((line) => {
    const [, name = '', labels = '', value = ''] = sampleLine.exec(line) ?? fail(line);
    return { name, labels: parseLabels(labels), value: numberOf(value) };
  });
}

function parseLabels(text: string): Record<string, string> {
  const unescaped = (value: string) => value.replace(/\\(.)/g, (_, letter: string) => (letter === 'n' ? '\n' : letter));
  return Object.fromEntries([...text.matchAll(labelPair)].map(([, name = '', value = '']) => [name, unescaped(value)]));
}

function numberOf(text: string): number {
  if (text === '+Inf') return Infinity;
  return text === '-Inf' ? -Infinity : Number(text);
}

const fail = (line: string): never => {
  throw new Error(`not a line of a metrics page: ${line}`);
};

/** `name{a="b"}`, as promtool and PromQL take it. */
export function seriesName({ name, labels }: Pick<Series, 'name' | 'labels'>): string {
  const pairs = Object.entries(labels)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([label, value]) => `${label}=${JSON.stringify(value)}`);
  return `${name}{${pairs.join(',')}}`;
}

/** `1 2x3 _x2`: a value, the same three times more, two readings without one. `gone` is the word for the first of those. */
export function notation(values: Series['values'], gone = '_'): string {
  const words = values.map((value, index) => {
    if (value !== undefined) return String(value).replace('Infinity', 'Inf');
    return values[index - 1] === undefined ? '_' : gone;
  });
  const runs: { word: string; count: number }[] = [];
  for (const word of words) {
    const last = runs.at(-1);
    if (last?.word === word) last.count += 1;
    else runs.push({ word, count: 1 });
  }
  // promtool counts how often a value is repeated, but how long a gap is.
  return runs
    .map(({ word, count }) => {
      if (count === 1) return word;
      return word === '_' ? `_x${count}` : `${word}x${count - 1}`;
    })
    .join(' ');
}

function parseNotation(text: string): (number | undefined)[] {
  return text.split(' ').flatMap((part) => {
    const [word = '', count] = part.split('x');
    if (word === '_') return new Array<undefined>(Number(count ?? 1)).fill(undefined);
    return new Array<number>(Number(count ?? 0) + 1).fill(Number(word.replace('Inf', 'Infinity')));
  });
}

export function formatRecording({ intervalSeconds, series }: Recording): string {
  const lines = series.map((one) => `${seriesName(one)} ${notation(one.values)}`).toSorted();
  const head = '# Read from a real run by `node hack/record-metrics.ts`; do not edit. Times count from its beginning.';
  return `${head}\n# interval ${intervalSeconds}s\n${lines.join('\n')}\n`;
}

export function parseRecording(text: string): Recording {
  const intervalSeconds = Number(/^# interval (\d+)s$/m.exec(text)?.[1]);
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  const series = lines.map((line) => {
    const end = line.lastIndexOf('}');
    const [, name = '', labels = ''] = /^([\w:]+)\{(.*)$/.exec(line.slice(0, end)) ?? fail(line);
    return { name, labels: parseLabels(labels), values: parseNotation(line.slice(end + 2)) };
  });
  return { intervalSeconds, series };
}
