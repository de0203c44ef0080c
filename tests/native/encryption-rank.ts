// A rank that joins the world of a job, adds up a number with the others, and says what came of it. Started by encryption.test.ts.
import { readEnvironment, TrainingEnvironment } from '#runtime/api/environment.ts';
import { RankLink } from '#runtime/api/rank-link.ts';
import { noParallelism } from '#runtime/parallel/main.ts';
import { joinWorld } from '#runtime/train/world.ts';

const [encryption, ranks] = process.argv.slice(2) as ['none' | 'tls', string];
const env = readEnvironment(TrainingEnvironment, process.env);
let fault: string | undefined;
try {
  const parallelism = { ...noParallelism, dataReplicate: Number(ranks) };
  using _world = await joinWorld(env, new RankLink(), { parallelism, encryption });
} catch (error) {
  fault = error instanceof Error ? error.message : String(error);
}
await new Promise<void>((sent) => process.send?.({ type: 'joined', fault }, undefined, undefined, () => sent()));
process.exit(0);
