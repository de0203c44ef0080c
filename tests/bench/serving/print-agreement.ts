// What the bench agreement has found, for a terminal.
import type { Agreement } from './agreement.ts';

export function printAgreement({ subject, positions, sameTop, meanKl, largestKl, disagreements }: Agreement): void {
  console.log(`${subject}: ${positions} tokens`);
  console.log(`same most likely token  ${(100 * sameTop).toFixed(2)} %`);
  console.log(`mean KL divergence      ${meanKl.toExponential(2)} nats, at most ${largestKl.toExponential(2)}`);
  for (const { prompt, position, ours, theirs } of disagreements) {
    const words = [ours, theirs].map(
      ({ token, logprobOfOurs, logprobOfTheirs }) =>
        `${JSON.stringify(token)} (ours ${logprobOfOurs.toFixed(3)}, theirs ${logprobOfTheirs.toFixed(3)})`,
    );
    console.log(`  token ${position + 1} after ${JSON.stringify(prompt)}: ${words.join(' against ')}`);
  }
}
