// hack/image: builds the image of Windlass without a container engine or a registry.
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { Command } from 'commander';
import { imageName, windlassImage } from './image.ts';

const program = new Command('hack/image')
  .description(
    'Builds the image of Windlass as an OCI layout in a tar file: Node, the program, its addon, certificates, and no shell.',
  )
  .option('-o, --output <file>', 'where to write it', 'build/image/windlass.tar')
  .option('--name <name>', 'what nodes know it by', imageName)
  .showHelpAfterError('(see hack/image --help)')
  .action(({ output, name }: { output: string; name: string }) => {
    const { archive, compressedBytes, digest } = windlassImage(name);
    mkdirSync(dirname(resolve(output)), { recursive: true });
    writeFileSync(output, archive);
    console.error(`image: ${name}, ${(compressedBytes / 1e6).toFixed(1)} MB compressed, in ${output}`);
    console.log(digest);
  });

try {
  await program.parseAsync();
} catch (error) {
  console.error(`image: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
}
