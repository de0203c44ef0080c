// `windlass run --profile FILE`: collects what the processes of the run recorded into one file.
import { mkdir, open, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { StateDir } from '#operator/local/state-dir.ts';
import { WindlassError, toWindlassError } from '#runtime/api/errors.ts';
import { chromeTrace } from '#runtime/api/profile/chrome.ts';
import { partSuffix, ProfilePart } from '#runtime/api/profile/part.ts';
import { profileReport } from '#runtime/api/profile/report.ts';

export class ProfileFile {
  /** Where processes leave their parts. */
  readonly folder: string;
  readonly #path: string;

  private constructor(path: string, folder: string) {
    this.#path = path;
    this.folder = folder;
  }

  /** Throws before anything runs where the file can't be written. */
  static async prepare(path: string, state: StateDir): Promise<ProfileFile> {
    const file = new ProfileFile(resolve(path), join(state.path, 'profile'));
    try {
      await rm(file.folder, { recursive: true, force: true });
      await mkdir(file.folder, { recursive: true });
      await (await open(file.#temporary, 'w')).close();
      await rm(file.#temporary);
    } catch (cause) {
      const { code, message } = toWindlassError(cause);
      throw new WindlassError(code, `--profile ${path}: ${message}`, { cause, details: { path } });
    }
    return file;
  }

  /** To be called when all processes have ended. The file appears whole. Returns what to tell the user. */
  async write(): Promise<string> {
    const parts = await this.#parts();
    await rm(this.folder, { recursive: true, force: true });
    const trace = chromeTrace(parts);
    if (trace.otherData.windows.length === 0)
      return 'no profile was written: no step and no request ended while it was recorded\n';
    await writeFile(this.#temporary, JSON.stringify(trace));
    await rename(this.#temporary, this.#path);
    return `profile: ${this.#path}, to be opened in https://ui.perfetto.dev\n${profileReport(trace)}`;
  }

  get #temporary(): string {
    return `${this.#path}.${process.pid}.tmp`;
  }

  async #parts(): Promise<ProfilePart[]> {
    const names = (await readdir(this.folder)).filter((name) => name.endsWith(partSuffix));
    return await Promise.all(
      names.map(async (name) => ProfilePart.parse(JSON.parse(await readFile(join(this.folder, name), 'utf8')))),
    );
  }
}
