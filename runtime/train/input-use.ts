// Who uses what lies in the folder that the jobs of a namespace share: marks, one for each job and digest, that tell by their time.
import { randomUUID } from 'node:crypto';
import { mkdir, readFile, readdir, rm, rmdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

export interface UseTimes {
  /** How often a running job renews its marks. */
  readonly renewMs: number;
  /** What was used in this time stays, by whomever: a mark may just be missing between two renewals. */
  readonly freshMs: number;
  /** A job that ended without success, or was suspended, keeps what it used for so long. */
  readonly keptMs: number;
}

export const useTimes: UseTimes = { renewMs: 30_000, freshMs: 120_000, keptMs: 24 * 3_600_000 };

/** When somebody used a digest. Milliseconds by the clock of the file system. */
interface Marks {
  /** Names of the marks. */
  readonly names: readonly string[];
  /** Newest mark of a job that has not said that it is done; -Infinity where there is none. */
  readonly heldAt: number;
  readonly usedAt: number;
}

const marksFolder = (shared: string): string => join(shared, 'uses');
/** In place of a job: the digest was used, and is used no more. */
const done = 'done';

/** What one job uses, from before it looks for it until it has succeeded. */
export class InputUse implements Disposable {
  readonly #shared: string;
  readonly #names: readonly string[];
  /** Tells this run of the job from an earlier one that may still be ending. */
  readonly #run = randomUUID();
  #renewal: NodeJS.Timeout | undefined;
  #renewing: Promise<unknown> = Promise.resolve();

  private constructor(shared: string, names: readonly string[]) {
    this.#shared = shared;
    this.#names = names;
  }

  /** `job`: names it within the namespace, in hexadecimal. `digests`: sha256 in hexadecimal. */
  static async begin(shared: string, job: string, digests: readonly string[], times: UseTimes = useTimes): Promise<InputUse> {
    const use = new InputUse(
      shared,
      digests.map((digest) => `${digest}.${job}`),
    );
    if (digests.length === 0) return use;
    await mkdir(marksFolder(shared), { recursive: true });
    await use.renew();
    // A mark that can't be renewed now is renewed the next time, and counts for a day.
    use.#renewal = setInterval(() => {
      use.#renewing = use.renew().catch(() => {});
    }, times.renewMs);
    use.#renewal.unref();
    return use;
  }

  async renew(): Promise<void> {
    for (const name of this.#names) await writeFile(join(marksFolder(this.#shared), name), this.#run);
  }

  /** The job is done with all of it: from now on it may go. */
  async release(): Promise<void> {
    this[Symbol.dispose]();
    await this.#renewing;
    for (const name of this.#names) {
      const path = join(marksFolder(this.#shared), name);
      await writeFile(join(marksFolder(this.#shared), `${name.slice(0, 64)}.${done}`), '-');
      if ((await readFile(path, 'utf8').catch(() => '')) === this.#run) await rm(path, { force: true });
    }
  }

  /** Ends the renewal alone: the job may be started again. */
  [Symbol.dispose](): void {
    clearInterval(this.#renewal);
  }
}

/** The marks by digest, and what time it is for them. */
export async function readMarks(shared: string): Promise<{ now: number; marks: Map<string, Marks> }> {
  const folder = marksFolder(shared);
  await mkdir(folder, { recursive: true });
  const now = await clockOf(folder);
  const marks = new Map<string, Marks>();
  for (const name of await readdir(folder)) {
    const [, digest, by] = /^([0-9a-f]{64})\.(\w+)$/.exec(name) ?? [];
    const entry = await stat(join(folder, name)).catch(() => undefined);
    if (digest === undefined || !entry) continue;
    const { names, heldAt, usedAt } = marks.get(digest) ?? { names: [], heldAt: -Infinity, usedAt: -Infinity };
    marks.set(digest, {
      names: [...names, join(folder, name)],
      heldAt: by === done ? heldAt : Math.max(heldAt, entry.mtimeMs),
      usedAt: Math.max(usedAt, entry.mtimeMs),
    });
  }
  return { now, marks };
}

/** Whether a job may read what has these marks. */
export function isUsed(marks: Marks | undefined, now: number, { freshMs, keptMs }: UseTimes): boolean {
  return marks !== undefined && (now - marks.heldAt < keptMs || now - marks.usedAt < freshMs);
}

/** Removes marks of what is not kept any more, or never came, and what a kill left of looking at the clock. */
export async function removeOldMarks(
  shared: string,
  kept: ReadonlySet<string>,
  now: number,
  { keptMs }: UseTimes,
): Promise<void> {
  const folder = marksFolder(shared);
  for (const name of await readdir(folder)) {
    const path = join(folder, name);
    const { mtimeMs } = await stat(path).catch(() => ({ mtimeMs: now }));
    if (now - mtimeMs > keptMs && !kept.has(name.slice(0, 64))) await rm(path, { recursive: true, force: true }).catch(() => {});
  }
}

/** The nodes of a claim need not agree on the time. To make something in the folder also shows what others made in it lately, on NFS. */
async function clockOf(folder: string): Promise<number> {
  const path = join(folder, `now-${randomUUID()}`);
  await mkdir(path);
  const { mtimeMs } = await stat(path);
  await rmdir(path);
  return mtimeMs;
}
