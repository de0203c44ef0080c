// Which layers attend within a window, in config.json: `layer_types`, or the older flags that say from which layer on.
import type { ConfigReader } from './config-reader.ts';

/** `windows` of a configuration: nothing where no layer has one. */
export function windowsOf(windows: readonly number[]): { readonly windows?: readonly number[] } {
  return windows.some((window) => window > 0) ? { windows } : {};
}

/** The windows that `layer_types` asks for; undefined where there is none. */
export function readLayerTypes(read: ConfigReader, layers: number, window: () => number): number[] | undefined {
  const types = read.list('layer_types');
  if (!types) return undefined;
  if (types.length !== layers) throw read.fault('layer_types', `a list of ${layers}, one for each layer`);
  return types.map((type) => {
    if (type === 'full_attention') return 0;
    if (type === 'sliding_attention') return window();
    throw read.fault('layer_types', 'made of "full_attention" and "sliding_attention": no other is supported');
  });
}

/** The keys that say the same: `layer_types` and the size. */
export function windowKeys(layers: number, windows: readonly number[] = []): Record<string, unknown> {
  const types = Array.from({ length: layers }, (_, layer) =>
    (windows[layer] ?? 0) > 0 ? 'sliding_attention' : 'full_attention',
  );
  return { layer_types: types, sliding_window: windows.find((window) => window > 0) ?? null };
}
