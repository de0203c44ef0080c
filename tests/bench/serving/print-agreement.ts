// What the bench agreement has found, for a terminal.
import type { Agreement, Distance } from './agreement.ts';

export function printAgreement({ subject, positions, disagreements, ...distances }: Agreement): void {
  console.log(`${subject}: ${positions} tokens`);
  print('ours from theirs', distances.apart);
  print('ours from the same weights in f32', distances.oursFromExact);
  print('theirs from the same weights in f32', distances.theirsFromExact);
  for (const { prompt, position, ours, theirs } of disagreements) {
    const words = [ours, theirs].map(
      ({ token, logprobOfOurs, logprobOfTheirs }) =>
        `${JSON.stringify(token)} (ours ${logprobOfOurs.toFixed(3)}, theirs ${logprobOfTheirs.toFixed(3)})`,
    );
    console.log(`  token ${position + 1} after ${JSON.stringify(prompt)}: ${words.join(' against ')}`);
  }
}

function print(what: string, { sameTop, meanKl, largestKl }: Distance): void {
  const kl = `mean KL divergence ${meanKl.toExponential(2)} nats, at most ${largestKl.toExponential(2)}`;
  console.log(`${what}: same most likely token ${(100 * sameTop).toFixed(2)} %, ${kl}`);
}
