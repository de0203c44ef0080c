import { expect, it } from 'vitest';
import { endText, servingText } from './farewell.ts';
import type { JobView } from './view.ts';

const job: JobView = { name: 'moby', state: 'Succeeded', step: 4, steps: 4, restarts: 0, losses: [], modelVersion: 'moby-1' };
const service = { name: 'moby', state: 'Ready', replicas: '1/1', url: 'http://127.0.0.9:8080' };
const ending = {
  files: ['moby.yaml'],
  statePath: '/home/me/.windlass',
  workingDir: '/home/me',
  view: { jobs: [job], services: [service] },
};

it('names the next steps after a success', () => {
  expect(endText(ending)).toMatchInlineSnapshot(`
    "
    Everything is kept in /home/me/.windlass. Next:
      windlass run -f moby.yaml                # serves until Ctrl-C
      windlass export moby-1 --to ./moby-1     # a Hugging Face folder
      windlass export moby-1 --to moby-1.gguf  # a file for llama.cpp
    "
  `);
});

it('names the log and the way on after a failure, with the state folder if it is not the usual one', () => {
  const { modelVersion: _, ...failed } = { ...job, state: 'Failed' };
  const view = { jobs: [failed], services: [] };
  expect(endText({ ...ending, statePath: '/data/run 1', view })).toMatchInlineSnapshot(`
    "
    Everything is kept in /data/run 1. Next:
      windlass logs moby --state '/data/run 1'         # its whole log
      windlass run -f moby.yaml --state '/data/run 1'  # tries again, from the last checkpoint
    "
  `);
});

it('says how to reach a service, once there is one', () => {
  expect(servingText(ending)).toMatchInlineSnapshot(`
    "
    Serving until Ctrl-C. Try:
      curl http://127.0.0.9:8080/v1/completions -H 'content-type: application/json' -d '{"prompt": "Once", "max_tokens": 16}'
      windlass chat moby
    "
  `);
  expect(servingText({ ...ending, view: { jobs: [job], services: [{ ...service, state: 'Loading' }] } })).toBe('');
});
