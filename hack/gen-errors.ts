// Writes docs/errors.md from the table of error codes.
import { errorTable } from '#runtime/api/errors.ts';
import { ExitCode } from '#runtime/api/exit-codes.ts';

export function generateErrorDocs(): { path: string; text: string }[] {
  const entries = Object.entries(errorTable).sort(([a], [b]) => (a < b ? -1 : 1));
  const sections = entries.map(
    ([code, { cause, remedy, exit }]) =>
      `## ${code}\n\n${cause}\n\n**What to do:** ${remedy}\n\nExit code ${ExitCode[exit]} (${exit}).\n`,
  );
  const head = `<!-- Generated from runtime/api/errors.ts by \`npm run gen\`; do not edit. -->

# Errors

Every error that Windlass reports has one of these codes. Commands print it, conditions of objects carry it, and the exit code of a
pod's process follows from it: a job whose process ends with ${ExitCode.userError} fails at once, because trying again would not help; every other failure is
tried again until \`faults.maxRestarts\` is used up.

`;
  return [{ path: 'docs/errors.md', text: head + sections.join('\n') }];
}
