// Finds memory that changes by itself. Where several ranks hold the same they compare it; what one rank alone holds must be, when an update begins, as the one before left it.
import { WindlassError } from '#runtime/api/errors.ts';
import type { PieceState } from '#runtime/parallel/main.ts';
import { digest } from '#runtime/tensor/main.ts';
import { findDifference } from './replicas.ts';
import type { PieceDigest } from './replicas.ts';
import type { Talk } from './together.ts';

/** What a rank tells the others: digests of what they hold too, and the first of its own pieces that changed. */
interface Finding {
  readonly shared: readonly PieceDigest[];
  readonly changed: string | null;
}

export class MemoryWatch {
  readonly #shared: readonly PieceState[];
  readonly #alone: readonly PieceState[];
  readonly #talk: Talk | undefined;
  /** Of the pieces that are this rank's alone, as the last update left them. */
  #left: Promise<number[]> | undefined;
  /** The first of them that changed since an update; resolves when all looks so far are done. */
  #changed: Promise<string | undefined> = Promise.resolve(undefined);

  /** `pieces` is all that this rank holds; `talk` is absent where there is one rank. */
  constructor(pieces: readonly PieceState[], talk: Talk | undefined) {
    this.#shared = pieces.filter(({ replicas }) => replicas > 1);
    this.#alone = pieces.filter(({ replicas }) => replicas === 1);
    this.#talk = talk;
  }

  /** Puts an update between two looks at the memory. Nothing is waited for. */
  around(update: () => void): void {
    this.#look();
    update();
    this.#left = quiet(digestsOf(this.#alone));
  }

  /** Weights and moments come from elsewhere now. */
  forget(): void {
    this.#left = undefined;
    this.#changed = Promise.resolve(undefined);
  }

  /** All ranks call it after the same step. Throws WL_MEMORY_CHANGED or WL_REPLICAS_DIFFER on all of them, naming piece and ranks. */
  async check(step: number): Promise<void> {
    this.#look();
    const sums = await digestsOf(this.#shared);
    const shared = this.#shared.map((state, at): PieceDigest => [nameOf(state), sums[at] ?? 0]);
    const own: Finding = { shared, changed: (await this.#changed) ?? null };
    const said = this.#talk ? await this.#talk.allGather(JSON.stringify(own)) : [JSON.stringify(own)];
    const all = said.map((text) => JSON.parse(text) as Finding);
    const rank = all.findIndex(({ changed }) => changed !== null);
    if (rank >= 0) {
      const message = `after step ${step}: rank ${rank} finds that its memory changed by itself in ${all[rank]?.changed}`;
      throw new WindlassError('WL_MEMORY_CHANGED', message, { details: { step, rank } });
    }
    const difference = findDifference(all.map(({ shared }) => shared));
    if (difference) throw new WindlassError('WL_REPLICAS_DIFFER', `after step ${step}: ${difference}`, { details: { step } });
  }

  /** Enqueues a look at what the last update left. */
  #look(): void {
    const left = this.#left;
    if (!left) return;
    const before = this.#changed;
    const now = digestsOf(this.#alone);
    this.#changed = quiet(
      Promise.all([before, left, now]).then(([known, then, sums]) => {
        const at = sums.findIndex((sum, index) => sum !== then[index]);
        return known ?? (at < 0 ? undefined : nameOf(this.#alone[at]!));
      }),
    );
  }
}

function digestsOf(pieces: readonly PieceState[]): Promise<number[]> {
  return Promise.all(pieces.map(({ weight, first, second }) => digest([weight, first, second])));
}

function nameOf({ piece }: PieceState): string {
  const { spec, box } = piece.entry;
  return `${spec.name}[${box.offsets.join(',')}] elements ${piece.begin} to ${piece.end}`;
}

/** A failure is seen by whoever waits for it; that nobody waits yet must not end the process. */
function quiet<T>(work: Promise<T>): Promise<T> {
  work.catch(() => {});
  return work;
}
