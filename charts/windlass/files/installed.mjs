// Run by `helm test`: are our kinds served, and does an operator answer that has read them?
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

const kinds = ['TrainingJob', 'InferenceService', 'Model', 'ModelVersion', 'TrainingRuntime', 'ClusterTrainingRuntime'];
const deadline = Date.now() + 60_000;

async function served() {
  const token = readFileSync('/var/run/secrets/kubernetes.io/serviceaccount/token', 'utf8');
  const answer = await fetch('https://kubernetes.default.svc/apis/windlass.dev/v1alpha1', {
    headers: { authorization: `Bearer ${token}` },
  });
  if (!answer.ok) throw new Error(`the API server answers ${answer.status} when asked for windlass.dev/v1alpha1`);
  const names = (await answer.json()).resources.map(({ kind }) => kind);
  const missing = kinds.filter((kind) => !names.includes(kind));
  if (missing.length > 0) throw new Error(`not served: ${missing.join(', ')}`);
}

async function running() {
  const answer = await fetch(process.env.METRICS);
  const text = await answer.text();
  if (!answer.ok || !text.includes('controller_runtime_max_concurrent_reconciles{controller="trainingjob"}'))
    throw new Error(`no metrics of an operator at ${process.env.METRICS}`);
}

for (const check of [served, running]) {
  for (;;) {
    try {
      await check();
      process.stdout.write(`${check.name}: yes\n`);
      break;
    } catch (error) {
      if (Date.now() > deadline) throw error;
      await sleep(500);
    }
  }
}
