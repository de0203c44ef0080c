// The last word of a command that failed: what happened, and what to do.
import { errorTable, toWindlassError } from '#runtime/api/errors.ts';
import { ExitCode } from '#runtime/api/exit-codes.ts';

/** Prints an error with its code and remedy, and where it happened if it is a fault of ours; gives the exit code. */
export function report(thrown: unknown): number {
  const error = toWindlassError(thrown);
  process.stderr.write(`error ${error.code}: ${error.message}\n  ${error.remedy}\n`);
  if (error.code === 'WL_INTERNAL' || process.env['WL_DEBUG']) process.stderr.write(`${formatStack(error)}\n`);
  return ExitCode[errorTable[error.code].exit];
}

/** For what nobody caught: reports it and ends the process, and with it the pods that hang on it. A reader that went away is no fault. */
export function endWith(thrown: unknown): never {
  if ((thrown as NodeJS.ErrnoException | undefined)?.code === 'EPIPE') process.exit(ExitCode.done);
  process.exit(report(thrown));
}

function formatStack(error: Error): string {
  return (error.cause instanceof Error ? error.cause : error).stack ?? '';
}
