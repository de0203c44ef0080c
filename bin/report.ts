// The last word of a command that failed: what happened, and what to do.
import { errorTable, toWindlassError } from '#runtime/api/errors.ts';
import { ExitCode } from '#runtime/api/exit-codes.ts';

/** Prints an error with its code and remedy; gives the exit code. */
export function report(thrown: unknown): number {
  const error = toWindlassError(thrown);
  process.stderr.write(`error ${error.code}: ${error.message}\n  ${error.remedy}\n`);
  if (process.env['WL_DEBUG']) process.stderr.write(`${error.stack}\n`);
  return ExitCode[errorTable[error.code].exit];
}
