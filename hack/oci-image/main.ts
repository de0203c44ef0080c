// hack/image: builds the image of Windlass without a container engine or a registry.
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { Command } from 'commander';
import { loadImage } from '../test-cluster/cluster.ts';
import { runningClusters } from '../test-cluster/state.ts';
import { imageName, windlassImage } from './image.ts';

const program = new Command('hack/image')
  .description(
    'Builds the image of Windlass as an OCI layout in a tar file: Node, the program, its addon, certificates, and no shell.',
  )
  .option('-o, --output <file>', 'where to write it', 'build/image/windlass.tar')
  .option('--name <name>', 'what nodes know it by', imageName)
  .option('--load <cluster>', 'give it to the nodes of this running cluster (hack/cluster status)')
  .showHelpAfterError('(see hack/image --help)')
  .action(async ({ output, name, load }: { output: string; name: string; load?: string }) => {
    const cluster = load === undefined ? undefined : runningClusters().find(({ access }) => access.name === load);
    if (load !== undefined && cluster?.access.size !== 'node')
      throw new Error(`no cluster ${load} with nodes runs; see hack/cluster status`);
    const { archive, compressedBytes, digest } = windlassImage(name);
    mkdirSync(dirname(resolve(output)), { recursive: true });
    writeFileSync(output, archive);
    console.error(`image: ${name}, ${(compressedBytes / 1e6).toFixed(1)} MB compressed, in ${output}`);
    if (cluster) await loadImage(cluster.access, resolve(output));
    console.log(digest);
  });

try {
  await program.parseAsync();
} catch (error) {
  console.error(`image: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
