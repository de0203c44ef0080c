// A log file that stays small: when it is full it becomes NAME.1.log, in the place of the one before, and a new one begins.
import { closeSync, fstatSync, openSync, renameSync, writeSync } from 'node:fs';
import { Writable } from 'node:stream';

/** Together with its predecessor a log takes at most twice this. */
const maxFileBytes = 8 << 20;

/** A stream that appends to the `.log` file at `path`. What was written is in the file at once; a chunk is never torn over two files. */
export function openLogFile(path: string, maxBytes = maxFileBytes): Writable {
  let file: number | undefined;
  let bytes = 0;
  const close = () => {
    if (file !== undefined) closeSync(file);
    file = undefined;
  };
  const append = (chunk: Buffer) => {
    if (file !== undefined && bytes > 0 && bytes + chunk.length > maxBytes) {
      close();
      renameSync(path, path.replace(/\.log$/, '.1.log'));
    }
    if (file === undefined) {
      file = openSync(path, 'a');
      bytes = fstatSync(file).size;
    }
    for (let at = 0; at < chunk.length;) at += writeSync(file, chunk, at);
    bytes += chunk.length;
  };
  return new Writable({
    write(chunk: Buffer, _encoding, done) {
      try {
        append(chunk);
        done();
      } catch (error) {
        done(error as Error);
      }
    },
    destroy(error, done) {
      close();
      done(error);
    },
  });
}
