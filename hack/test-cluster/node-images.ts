// The images that nodes need for themselves: the pause container of every pod, and the name server.
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { packImage } from '../oci-image/layout.ts';
import { binaryOf, cacheFolder, components, kubernetesVersion } from './components.ts';
import { capture } from './command.ts';
import { goCommand } from './go.ts';

export const pauseImage = `windlass.dev/pause:v${kubernetesVersion}`;
export const dnsImage = `windlass.dev/coredns:${components.coredns.version}`;

/** Archives for `ctr images import`, made once per machine. */
export async function nodeImages(say: (line: string) => void): Promise<string[]> {
  const coredns = binaryOf('coredns');
  return [
    await archive(
      pauseImage,
      join(cacheFolder(), `pause-v${kubernetesVersion}`),
      async (folder) => await compilePause(folder, say),
    ),
    await archive(dnsImage, join(dirname(coredns), 'image'), async () => coredns),
  ];
}

/** An image of one static program. It appears whole or not at all. */
async function archive(name: string, place: string, program: (folder: string) => Promise<string>): Promise<string> {
  const path = join(place, 'image.tar');
  if (existsSync(path)) return path;
  mkdirSync(place, { recursive: true });
  const folder = mkdtempSync(join(place, '.making-'));
  try {
    const data = readFileSync(await program(folder));
    const layer = [{ path: 'program', type: 'file', data, executable: true }] as const;
    const made = join(folder, 'image.tar');
    writeFileSync(made, packImage(name, [layer], { entrypoint: ['/program'], user: '65532:65532' }).archive);
    renameSync(made, path);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return path;
}

/** From its one C file, which the Go module of Kubernetes carries. */
async function compilePause(folder: string, say: (line: string) => void): Promise<string> {
  const go = await goCommand(say);
  const described = await capture(go, ['mod', 'download', '-json', `k8s.io/kubernetes@v${kubernetesVersion}`], { cwd: folder });
  const { Dir: source } = JSON.parse(described) as { Dir: string };
  const program = join(folder, 'pause');
  await capture('gcc', ['-Os', '-static', '-o', program, join(source, 'build/pause/linux/pause.c')]);
  return program;
}
