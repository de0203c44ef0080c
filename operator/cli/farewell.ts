// What `windlass run` says when its work is done: where things are and what can be done next. Pure.
import { defaultStateDir } from '#operator/local/state-dir.ts';
import type { View } from './view.ts';

export interface Ending {
  readonly files: readonly string[];
  readonly statePath: string;
  readonly workingDir: string;
  readonly view: Pick<View, 'jobs' | 'services'>;
}

/** While services go on: how to reach them, and how to end. */
export function servingText({ view, ...where }: Ending): string {
  const [service] = view.services.filter(({ state, url }) => state === 'Ready' && url !== undefined);
  if (!service) return '';
  return `
Serving until Ctrl-C. Try:
  curl ${service.url}/v1/completions -H 'content-type: application/json' -d '{"prompt": "Once", "max_tokens": 16}'
  windlass chat ${service.name}${stateFlag(where)}
`;
}

/** After the end: where things are, and how to go on with them. */
export function endText({ view, files, ...where }: Ending): string {
  const flag = stateFlag(where);
  const again = `windlass run ${files.map((file) => `-f ${shellWord(file)}`).join(' ')}${flag}`;
  const failed = view.jobs.find(({ state }) => state === 'Failed');
  const version = view.jobs.findLast(({ modelVersion }) => modelVersion !== undefined)?.modelVersion;
  const steps: [command: string, meaning: string][] = [];
  if (failed) {
    steps.push([`windlass logs ${failed.name}${flag}`, 'its whole log']);
    steps.push([again, 'tries again, from the last checkpoint']);
  } else if (view.services.length > 0) steps.push([again, 'serves until Ctrl-C']);
  if (version !== undefined) {
    steps.push([`windlass export ${version} --to ./${version}${flag}`, 'a Hugging Face folder']);
    steps.push([`windlass export ${version} --to ${version}.gguf${flag}`, 'a file for llama.cpp']);
  }
  const width = Math.max(...steps.map(([command]) => command.length));
  const lines = steps.map(([command, meaning]) => `  ${command.padEnd(width)}  # ${meaning}\n`);
  return `\nEverything is kept in ${where.statePath}.${lines.length > 0 ? ' Next:' : ''}\n${lines.join('')}`;
}

function stateFlag({ statePath, workingDir }: { statePath: string; workingDir: string }): string {
  if (statePath === `${workingDir}/${defaultStateDir}`) return '';
  return ` --state ${shellWord(statePath.startsWith(`${workingDir}/`) ? statePath.slice(workingDir.length + 1) : statePath)}`;
}

/** A word that a shell takes as it is. */
function shellWord(text: string): string {
  return /^[\w./:@%+=-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
