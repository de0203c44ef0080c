// The in-memory API's watch window: the newest changes in order. A watch is a cursor into it, so slow readers cost nothing.
import type { KubeObject, ResourceType } from '#crds/resource.ts';
import type { ListOptions, WatchEvent, WatchOptions } from './client.ts';
import { matchesFields, matchesLabels } from './client.ts';
import { KubeError } from './errors.ts';

export interface Change {
  version: number;
  type: ResourceType;
  event: 'ADDED' | 'MODIFIED' | 'DELETED';
  object: KubeObject;
  /** The object before the change. */
  before?: KubeObject;
}

/** A quiet watch gets a bookmark after this many changes of other objects. */
const bookmarkEvery = 64;

export class EventLog {
  readonly #window: number;
  #changes: Change[] = [];
  /** Version before the oldest change that is kept. */
  #floor: number;
  #wake: (() => void)[] = [];

  constructor(window: number, floor: number) {
    this.#window = window;
    this.#floor = floor;
  }

  append(change: Change): void {
    this.#changes.push(change);
    if (this.#changes.length > this.#window * 2) {
      this.#changes = this.#changes.slice(-this.#window);
      this.#floor = this.#changes[0]!.version - 1;
    }
    for (const wake of this.#wake.splice(0)) wake();
  }

  /** Forgets all changes, as an API server does when it compacts: watches from older versions expire. */
  compact(version: number): void {
    this.#changes = [];
    this.#floor = version;
    for (const wake of this.#wake.splice(0)) wake();
  }

  /** The changes after `version` that a watch sees, for ever. */
  async *follow<T extends KubeObject>(
    type: ResourceType<T>,
    options: WatchOptions,
    version: number,
  ): AsyncGenerator<WatchEvent<T>> {
    let cursor = version;
    let told = version;
    while (!options.signal.aborted) {
      if (cursor < this.#floor) throw new KubeError('Expired', `too old resource version: ${cursor} (${this.#floor})`);
      const next = this.#after(cursor);
      if (!next) {
        await this.#changed(options.signal);
        continue;
      }
      cursor = next.version;
      const event = next.type.kind === type.kind && next.type.group === type.group ? seenBy(next, options) : undefined;
      if (event) {
        told = cursor;
        yield event as WatchEvent<T>;
      } else if (options.bookmarks && cursor - told >= bookmarkEvery) {
        told = cursor;
        yield { type: 'BOOKMARK', resourceVersion: String(cursor) };
      }
    }
  }

  #after(version: number): Change | undefined {
    let [low, high] = [0, this.#changes.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#changes[middle]!.version <= version) low = middle + 1;
      else high = middle;
    }
    return this.#changes[low];
  }

  #changed(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        signal.removeEventListener('abort', wake);
        resolve();
      };
      this.#wake.push(wake);
      signal.addEventListener('abort', wake, { once: true });
    });
  }
}

export function isSelected(object: KubeObject, options: ListOptions): boolean {
  const inNamespace = options.namespace === undefined || object.metadata.namespace === options.namespace;
  return inNamespace && matchesLabels(object, options.labels) && matchesFields(object, options.fields);
}

/** A change as a watch with a selector sees it: an object that stops matching is deleted for it. */
function seenBy(change: Change, options: ListOptions): { type: Change['event']; object: KubeObject } | undefined {
  const now = change.event !== 'DELETED' && isSelected(change.object, options);
  const then = change.before !== undefined && isSelected(change.before, options);
  if (now) return { type: then ? 'MODIFIED' : 'ADDED', object: change.object };
  return then ? { type: 'DELETED', object: change.object } : undefined;
}
