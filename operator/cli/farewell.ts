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

/** After the end: where the models are, and how to go on with them. */
export function endText({ view, files, ...where }: Ending): string {
  const flag = stateFlag(where);
  const [version] = view.jobs.flatMap(({ modelVersion }) => (modelVersion === undefined ? [] : [modelVersion]));
  const lines: [string, string][] = [];
  if (view.services.length > 0)
    lines.push([`windlass run ${files.map((file) => `-f ${file}`).join(' ')}${flag}`, 'serves until Ctrl-C']);
  if (version !== undefined) {
    lines.push([`windlass export ${version} --to ./${version}${flag}`, 'a Hugging Face folder']);
    lines.push([`windlass export ${version} --to ${version}.gguf${flag}`, 'a file for llama.cpp']);
  }
  if (lines.length === 0) return '';
  const width = Math.max(...lines.map(([command]) => command.length));
  const steps = lines.map(([command, meaning]) => `  ${command.padEnd(width)}  # ${meaning}\n`).join('');
  return `\nEverything is kept in ${where.statePath}. Next:\n${steps}`;
}

function stateFlag({ statePath, workingDir }: { statePath: string; workingDir: string }): string {
  if (statePath === `${workingDir}/${defaultStateDir}`) return '';
  return ` --state ${statePath.startsWith(`${workingDir}/`) ? statePath.slice(workingDir.length + 1) : statePath}`;
}
