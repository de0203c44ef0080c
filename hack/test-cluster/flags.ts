// Command-line flags as Go programs take them.

/** `{ a: 1, b: ['x', 'y'] }` is `--a=1 --b=x,y`. */
export function flags(values: Record<string, string | number | boolean | readonly string[]>): string[] {
  return Object.entries(values).map(([name, value]) => `--${name}=${String(value)}`);
}
