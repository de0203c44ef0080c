import { describe, expect, it } from 'vitest';
import type { TrainingJobStatus, TrainingRuntime } from '#crds/v1alpha1/index.ts';
import { isoTime } from '#operator/kube/clock.ts';
import type { Pod } from '#operator/kube/core.ts';
import { lastWords } from '../fixtures.ts';
import type { Observed } from './decision.ts';
import { workerPod } from './pods.ts';
import { conditions, effective, job, now, plan, pod, said, version } from './testing.ts';
import type { PodState } from './testing.ts';

const failed = (exitCode: number, more: PodState = {}) => pod({ phase: 'Failed', exitCode, ...more });

const unready = (of: Pod): Pod => ({ ...of, status: { ...of.status, conditions: [{ type: 'Ready', status: 'False' }] } });

const own = (scheduleCsv: string) => ({ pipeline: 2, schedule: 'csv', scheduleCsv });

describe('the plan of a TrainingJob', () => {
  const running: Partial<TrainingJobStatus> = { effective, startTime: isoTime(now - 60_000) };
  const table: [string, Partial<Observed>, ReturnType<typeof said>][] = [
    [
      'first sight copies the settings and makes no pod',
      { job: job({}, {}) },
      { actions: [], state: 'Pending', attempt: 0, restarts: 0 },
    ],
    ['then the pod is made', {}, { actions: ['create moby-worker-0 attempt 0'], state: 'Starting', attempt: 0, restarts: 0 }],
    [
      'a schedule of its own that can run gets its pods',
      { job: job({ parallelism: own('F0.0,B0.0\nF1.0,B1.0\n') }) },
      {
        actions: ['service moby-workers', 'create moby-worker-0 attempt 0', 'create moby-worker-1 attempt 0'],
        state: 'Starting',
        attempt: 0,
        restarts: 0,
      },
    ],
    [
      'a schedule of its own that can not run fails the job before a pod is made',
      { job: job({ parallelism: own('B0.0,F0.0\nF1.0,B1.0\n') }) },
      { actions: [], state: 'Failed', attempt: 0, restarts: 0 },
    ],
    ['a running pod needs nothing', { pods: [pod()] }, { actions: [], state: 'Running', attempt: 0, restarts: 0 }],
    [
      'a pod of which the kubelet tells first that its container is done, and then that it has succeeded, leaves the job running',
      { job: job({}, { ...running, state: 'Running' }), pods: [unready(pod({ exitCode: 0, words: lastWords() }))] },
      { actions: [], state: 'Running', attempt: 0, restarts: 0 },
    ],
    [
      'a lost rank raises the attempt and waits',
      { job: job({}, running), pods: [failed(80)] },
      { actions: [], state: 'Restarting', attempt: 1, restarts: 1 },
    ],
    [
      'the pod of an older attempt goes before its successor comes',
      { job: job({}, { ...running, state: 'Restarting', attempt: 1, restarts: 1 }), pods: [failed(80)] },
      { actions: ['delete moby-worker-0 attempt 0'], state: 'Restarting', attempt: 1, restarts: 1 },
    ],
    [
      'the successor waits for the back-off',
      { job: job({}, { ...running, state: 'Restarting', attempt: 1, restarts: 1, nextRestartTime: isoTime(now + 4000) }) },
      { actions: [], state: 'Restarting', attempt: 1, restarts: 1, requeueAfterMs: 4000 },
    ],
    [
      'after the back-off it is made',
      { job: job({}, { ...running, state: 'Restarting', attempt: 1, restarts: 1, nextRestartTime: isoTime(now) }) },
      { actions: ['create moby-worker-0 attempt 1'], state: 'Restarting', attempt: 1, restarts: 1 },
    ],
    [
      'a pod that somebody took away is written down first, free of charge',
      { pods: [pod({ deleting: true })] },
      { actions: [], state: 'Restarting', attempt: 0, restarts: 0 },
    ],
    [
      'then it is waited for until it is gone, though not for ever',
      { job: job({}, { ...running, replacing: ['pod-0'] }), pods: [pod({ deleting: true })] },
      { actions: [], state: 'Starting', attempt: 0, restarts: 0, requeueAfterMs: 60_000 },
    ],
    ['a user error fails at once', { pods: [failed(64)] }, { actions: [], state: 'Failed', attempt: 0, restarts: 0 }],
    [
      'an orderly stop restarts free of charge',
      { pods: [failed(90)] },
      { actions: [], state: 'Restarting', attempt: 1, restarts: 0 },
    ],
    [
      'an eviction restarts free of charge',
      { pods: [failed(137, { reason: 'Evicted' })] },
      { actions: [], state: 'Restarting', attempt: 1, restarts: 0 },
    ],
    [
      'restarts in place count against the budget',
      { pods: [failed(80, { words: { restarts: 3 } })] },
      { actions: [], state: 'Failed', attempt: 0, restarts: 3 },
    ],
    [
      'restarts in place that were reported while running are not counted twice',
      { job: job({}, { ...running, restarts: 2, inPlaceRestarts: 2 }), pods: [failed(80, { words: { restarts: 2 } })] },
      { actions: [], state: 'Restarting', attempt: 1, restarts: 3 },
    ],
    [
      'an end without a model is a fault',
      { pods: [pod({ phase: 'Succeeded', exitCode: 0 })] },
      { actions: [], state: 'Restarting', attempt: 1, restarts: 1 },
    ],
    [
      'a result needs a model first',
      { pods: [pod({ phase: 'Succeeded', exitCode: 0, words: lastWords() })], model: undefined },
      { actions: ['createModel'], state: 'Running', attempt: 0, restarts: 0 },
    ],
    [
      'then it becomes the next version',
      {
        pods: [pod({ phase: 'Succeeded', exitCode: 0, words: lastWords() })],
        versions: [version('moby-1', 1), version('moby-2', 4)],
      },
      { actions: ['version moby-5'], state: 'Running', attempt: 0, restarts: 0 },
    ],
    [
      'a result counts even if the job is suspended meanwhile',
      { job: job({ suspend: true }), pods: [pod({ phase: 'Succeeded', exitCode: 0, words: lastWords() })] },
      { actions: ['version moby-1'], state: 'Running', attempt: 0, restarts: 0 },
    ],
    [
      'a version of this job completes it, pod or no pod',
      { versions: [version('moby-1', 1, 'job-1')] },
      { actions: [], state: 'Succeeded', attempt: 0, restarts: 0 },
    ],
    [
      'a suspended job loses its pods',
      { job: job({ suspend: true }), pods: [pod()] },
      { actions: ['delete moby-worker-0 attempt 0'], state: 'Suspended', attempt: 0, restarts: 0 },
    ],
    [
      'a job past its deadline fails and its pods go',
      { job: job({ activeDeadlineSeconds: 60 }, running), pods: [pod()] },
      { actions: ['delete moby-worker-0 attempt 0'], state: 'Failed', attempt: 0, restarts: 0 },
    ],
    [
      'a job before its deadline is looked at again then',
      { job: job({ activeDeadlineSeconds: 90 }, running), pods: [pod()] },
      { actions: [], state: 'Running', attempt: 0, restarts: 0, requeueAfterMs: 30_000 },
    ],
    [
      'an ended job goes when its time is over',
      { job: job({ ttlSecondsAfterFinished: 5 }, { ...ended(), completionTime: isoTime(now - 5000) }) },
      { actions: ['deleteJob'], state: 'Succeeded', attempt: 0, restarts: 0 },
    ],
  ];
  it.each(table)('%s', (_, seen, expected) => {
    expect(said(plan(seen))).toEqual(expected);
  });

  it('waits for a runtime, and copies it once', () => {
    const spec = { runtimeRef: { name: 'cpu' } };
    const waiting = plan({ job: job(spec, {}) });
    expect(conditions(waiting)).toEqual({ Ready: 'False RuntimeNotFound' });
    const runtime = {
      kind: 'ClusterTrainingRuntime',
      metadata: { name: 'cpu', generation: 2 },
      spec: { image: 'mine:2', env: [{ name: 'WL_THREADS', value: '2' }], storage: { jobsClaim: 'j', modelsClaim: 'm' } },
    } as TrainingRuntime;
    const copied = plan({ job: job(spec, {}), runtime }).status.effective!;
    expect(copied).toMatchObject({ image: 'mine:2', runtime: { name: 'cpu', generation: 2 }, jobsClaim: 'j' });
    const made = plan({ job: job(spec, { effective: copied }), runtime: undefined }).actions[0];
    expect(made?.type === 'createPod' && made.pod.spec.containers[0]?.image).toBe('mine:2');
  });

  it('says what failed, where, and what to do, in one line', () => {
    const words = {
      code: 'WL_DATA_EMPTY',
      message: 'corpus.txt has 3 tokens, 257 needed',
      remedy: 'Add text.',
      rank: 0,
      step: 0,
      logTail: 'a\nb',
    };
    const failure = plan({ pods: [failed(64, { words })] });
    expect(conditions(failure)).toEqual({ Ready: 'False DataEmpty', Failed: 'True DataEmpty', Stalled: 'True DataEmpty' });
    expect(failure.status.conditions?.[0]?.message).toMatchInlineSnapshot(
      `"moby-worker-0, rank 0, exit code 64, WL_DATA_EMPTY: corpus.txt has 3 tokens, 257 needed. Add text."`,
    );
    expect(failure.status.lastFailure).toMatchObject({
      pod: 'moby-worker-0',
      node: 'node-1',
      rank: 0,
      exitCode: 64,
      rule: 'UserError',
      action: 'Fail',
      logTail: 'a\nb',
    });
    const stuck = plan({ job: job({ parallelism: own('B0.0,F0.0\nF1.0,B1.0\n') }) });
    expect(conditions(stuck)['Failed']).toBe('True ManifestInvalid');
    expect(stuck.status.conditions?.[0]?.message).toMatchInlineSnapshot(
      `"spec.parallelism.scheduleCsv: deadlock: line 1, column 1 (B0.0) waits for line 1, column 6 (F0.0), which stands behind it. Move something that is waited for before what it stands behind"`,
    );
    const killed = plan({ pods: [failed(137, { signal: 9 })] });
    expect(killed.status.conditions?.[0]?.message).toMatchInlineSnapshot(
      `"moby-worker-0, rank 0, signal 9: the container was ended by signal 9. If nobody killed it, look for the out-of-memory killer in the kernel's log of its node."`,
    );
  });

  it('follows kstatus: Reconciling only while something is going on, Stalled only when nothing will', () => {
    expect(conditions(plan({}))).toEqual({ Ready: 'False Starting', Reconciling: 'True Starting' });
    expect(conditions(plan({ pods: [pod()] }))).toEqual({ Ready: 'True Running' });
    expect(conditions(plan({ versions: [version('moby-1', 1, 'job-1')] }))).toEqual({
      Ready: 'True Complete',
      Complete: 'True Published',
    });
  });

  it('completes with the version that is there when its copy could not be put on the server, and says why', () => {
    const output = { model: 'moby', uri: 'https://models.example/all/?sig=abc' };
    const made = version('moby-1', 1, 'job-1');
    const copyFault = { code: 'WL_REMOTE_REFUSED', message: 'answered PUT with 403 Forbidden', remedy: 'Check the address' };
    const words = lastWords();
    const told = { ...words, published: { ...words.published!, copyFault }, progress: { step: 400, steps: 400 } };
    const refused = plan({
      job: job({ output }),
      versions: [made],
      pods: [pod({ phase: 'Succeeded', exitCode: 0, words: told })],
    });
    expect(conditions(refused)).toEqual({ Ready: 'True CopyFailed', Complete: 'True Published', Copied: 'False RemoteRefused' });
    expect(refused.status).toMatchObject({ state: 'Succeeded', modelVersion: 'moby-1' });
    expect(refused.status.conditions?.find(({ type }) => type === 'Complete')?.message).toBe(
      'published moby-1; moby-1 is on its claim, but no copy is at https://models.example/all/: WL_REMOTE_REFUSED: answered PUT with 403 Forbidden. Check the address',
    );
    expect(refused.events.map(({ type, reason }) => `${type} ${reason}`)).toEqual(['Normal Complete', 'Warning CopyFailed']);
    const url = 'https://models.example/all/moby/0f1e-400/';
    const copied = plan({ job: job({ output }), versions: [{ ...made, spec: { ...made.spec, url } }] });
    expect(conditions(copied)['Copied']).toBe('True Copied');
  });

  it('takes progress over at most every ten seconds, and only news', () => {
    const report = (step: number, ageMs: number, attempt = 0) => ({
      uid: 'job-1',
      attempt,
      rank: 0,
      pod: 'moby-worker-0',
      time: new Date(now - ageMs).toISOString(),
      restarts: 1,
      progress: { step, steps: 400, loss: 6.5, checkpointStep: 100, etaSeconds: 130, tokensPerSecond: 6543.2 },
    });
    const first = plan({ pods: [pod()], report: report(120, 0) }).status;
    expect(first).toMatchObject({
      restarts: 1,
      checkpoint: { step: 100 },
      summary: { ranks: '1/1', step: '120/400', loss: '6.500', tokensPerSecond: '6543', eta: '2m10s' },
    });
    const shown = (ageMs: number) => ({ ...first, progress: { ...first.progress, time: isoTime(now - ageMs) } });
    const soon = plan({ job: job({}, shown(4000)), pods: [pod()], report: report(130, 0) });
    expect([soon.status.progress?.step, soon.requeueAfterMs]).toEqual([120, 6000]);
    const due = plan({ job: job({}, shown(10_000)), pods: [pod()], report: report(140, 0) });
    expect([due.status.progress?.step, due.requeueAfterMs]).toEqual([140, undefined]);
    expect(plan({ job: job({}, shown(20_000)), pods: [pod()], report: report(150, 30_000) }).status.progress?.step).toBe(120);
    expect(plan({ pods: [pod()], report: report(9, 0, 5) }).status.progress).toBeUndefined();
  });
});

describe('the pod of a rank', () => {
  it('is told the event bus of the operator, and none where the operator has none', () => {
    const busOf = (builtin: Observed['builtin']) => {
      const made = plan({ job: job(), builtin }).actions.find((action) => action.type === 'createPod');
      return made?.pod.spec.containers[0]?.env?.filter(({ name }) => name === 'WL_BUS');
    };
    const bus = 'nats://bus.windlass-system.svc:4222';
    expect(busOf({ image: 'windlass:1', bus })).toEqual([{ name: 'WL_BUS', value: bus }]);
    expect(busOf({ image: 'windlass:1' })).toEqual([]);
  });

  it('holds no secret where pods get credentials, but the way to them and a token for nobody else', () => {
    const credentials = { url: 'https://windlass-credentials.windlass-system.svc:8443', ca: 'PEM' };
    const two = { rank: 1, attempt: 0, restartsLeft: 0, secret: 'a secret that is not told', credentials };
    const task = { pretrain: { steps: 400, batch: { sequences: 8, length: 128, grains: 2 } } };
    const made = workerPod(job({ parallelism: { dataReplicate: 2 }, task }), effective, two);
    expect(JSON.stringify(made)).not.toContain(two.secret);
    const { env, volumeMounts } = made.spec.containers[0]!;
    expect(env).toContainEqual({ name: 'WL_CREDENTIALS', value: credentials.url });
    expect(env).toContainEqual({ name: 'WL_CREDENTIALS_CA', value: 'PEM' });
    expect(volumeMounts).toContainEqual({ name: 'windlass-token', mountPath: '/var/run/secrets/windlass', readOnly: true });
    const token = { serviceAccountToken: { audience: 'windlass', expirationSeconds: 3600, path: 'token' } };
    expect(made.spec.volumes).toContainEqual({ name: 'windlass-token', projected: { sources: [token] } });
    expect(made.spec).toMatchObject({ automountServiceAccountToken: false, serviceAccountName: 'default' });
  });

  it('follows the environment contract and Pod Security restricted', () => {
    const made = workerPod(job({ podTemplate: { resources: { limits: { cpu: 2 } } } }), effective, {
      rank: 0,
      attempt: 1,
      restartsLeft: 2,
      secret: 'x',
    });
    expect({ ...made.spec, containers: made.spec.containers.map(({ env, ...rest }) => ({ ...rest, variables: env?.length })) })
      .toMatchInlineSnapshot(`
        {
          "automountServiceAccountToken": false,
          "containers": [
            {
              "command": [
                "windlass",
                "agent",
              ],
              "image": "windlass:1",
              "name": "agent",
              "resources": {
                "limits": {
                  "cpu": 2,
                },
              },
              "securityContext": {
                "allowPrivilegeEscalation": false,
                "capabilities": {
                  "drop": [
                    "ALL",
                  ],
                },
                "readOnlyRootFilesystem": true,
              },
              "terminationMessagePath": "/dev/termination-log",
              "terminationMessagePolicy": "File",
              "variables": 13,
              "volumeMounts": [
                {
                  "mountPath": "/windlass/jobs",
                  "name": "jobs",
                },
                {
                  "mountPath": "/windlass/models",
                  "name": "models",
                },
                {
                  "mountPath": "/tmp",
                  "name": "tmp",
                },
              ],
            },
          ],
          "enableServiceLinks": false,
          "restartPolicy": "Never",
          "securityContext": {
            "fsGroup": 65532,
            "runAsGroup": 65532,
            "runAsNonRoot": true,
            "runAsUser": 65532,
            "seccompProfile": {
              "type": "RuntimeDefault",
            },
          },
          "terminationGracePeriodSeconds": 30,
          "volumes": [
            {
              "name": "jobs",
              "persistentVolumeClaim": {
                "claimName": "windlass-jobs",
              },
            },
            {
              "name": "models",
              "persistentVolumeClaim": {
                "claimName": "windlass-models",
              },
            },
            {
              "emptyDir": {},
              "name": "tmp",
            },
          ],
        }
      `);
    const env = Object.fromEntries(made.spec.containers[0]!.env!.map(({ name, value }) => [name, value]));
    expect({ ...env, WL_JOB: Object.keys(JSON.parse(env['WL_JOB']!) as object).join(' ') }).toMatchInlineSnapshot(`
      {
        "WL_ATTEMPT": "1",
        "WL_JOB": "model data task parallelism recompute checkpoint faults suspend podTemplate output",
        "WL_JOB_DIR": "/windlass/jobs/default/moby",
        "WL_MAX_RESTARTS": "2",
        "WL_MODELS_DIR": "/windlass/models/default",
        "WL_MODELS_URI": "pvc://windlass-models/default",
        "WL_NAME": "moby",
        "WL_NAMESPACE": "default",
        "WL_POD_IP": undefined,
        "WL_POD_NAME": "moby-worker-0",
        "WL_RANK": "0",
        "WL_UID": "job-1",
        "WL_WORLD_SIZE": "1",
      }
    `);
  });
});

function ended(): Partial<TrainingJobStatus> {
  const condition = {
    type: 'Complete',
    status: 'True',
    reason: 'Published',
    message: '',
    lastTransitionTime: isoTime(now),
  } as const;
  return { effective, conditions: [condition] };
}
