import { describe, expect, it } from 'vitest';
import type { TrainingJobStatus } from '#crds/v1alpha1/index.ts';
import { isoTime } from '#operator/kube/clock.ts';
import type { Pod } from '#operator/kube/core.ts';
import type { PodGroup } from '#operator/kube/pod-group.ts';
import type { Action, Observed, Plan } from './decision.ts';
import { workersService } from './pods.ts';
import { conditions, effective, job, now, plan, pod, said } from './testing.ts';

const batch = { sequences: 8, length: 128, grains: 4 };
const spec = { parallelism: { dataReplicate: 4 }, task: { pretrain: { steps: 400, batch } } };
const four = (more: object = {}, status: Partial<TrainingJobStatus> = {}) =>
  job({ ...spec, ...more }, { effective, startTime: isoTime(now - 60_000), ...status });
const ranks = [0, 1, 2, 3];
const service = workersService(four());

/** What the plan of a job without pods makes. */
function madeBy(more: object = {}, seen: Partial<Observed> = {}): PodGroup {
  const { actions } = plan({ job: four(more), service, gangs: 'served', ...seen });
  return actions.find((action) => action.type === 'createPodGroup')!.group;
}

interface GroupState {
  attempt?: number;
  placed?: 'True' | 'False';
  reason?: string;
  message?: string;
  ending?: boolean;
}

/** The group of an attempt as the API holds it. */
function group({ attempt = 0, placed, reason, message, ending }: GroupState = {}, more: object = {}): PodGroup {
  const made = madeBy(more, { job: four(more, { attempt }) });
  return {
    ...made,
    metadata: { ...made.metadata, uid: `group-${attempt}`, ...(ending ? { deletionTimestamp: isoTime(now) } : {}) },
    ...(placed
      ? {
          status: {
            conditions: [
              {
                type: 'PodGroupInitiallyScheduled',
                status: placed,
                ...(reason ? { reason } : {}),
                ...(message ? { message } : {}),
              },
            ],
          },
        }
      : {}),
  };
}

/** A pod of the group of attempt 0, with a node unless the scheduler refuses it one. */
function member(rank: number, { refused, isNew = false }: { refused?: string; isNew?: boolean } = {}): Pod {
  const { metadata, spec: podSpec, status } = pod({ rank }, spec);
  const made = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata,
    spec: { ...podSpec, schedulingGroup: { podGroupName: 'moby-workers-0' } },
  };
  if (refused === undefined && !isNew) return { ...made, status: status! };
  const { nodeName: _, ...homeless } = made.spec;
  const condition = { type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message: refused ?? '' } as const;
  return { ...made, spec: homeless, status: { phase: 'Pending', conditions: isNew ? [] : [condition] } };
}

const steps = ({ actions }: Plan) =>
  actions.map((action: Action) => {
    if (action.type === 'createPodGroup' || action.type === 'deletePodGroup')
      return `${action.type} ${action.group.metadata.name}`;
    if (action.type === 'createPod') return `createPod in ${action.pod.spec.schedulingGroup?.podGroupName}`;
    return action.type;
  });
const messageOf = ({ status }: Plan, type: string) => status.conditions?.find((condition) => condition.type === type)?.message;

describe('the gang of a job', () => {
  it('is made before its pods, which carry its name', () => {
    expect(steps(plan({ job: four(), service, gangs: 'served' }))).toEqual([
      'createPodGroup moby-workers-0',
      ...ranks.map(() => 'createPod in moby-workers-0'),
    ]);
  });

  it('gets its Service when all its pods have a place, or one has an address already: not while they are placed', () => {
    const seen = { job: four(), podGroups: [group()], gangs: 'served' } as const;
    const [first, ...others] = ranks.map((rank) => member(rank, { isNew: true }));
    const homeless = [first!, ...others];
    expect(steps(plan({ job: four(), gangs: 'served' }))).not.toContain('createService');
    expect(steps(plan({ ...seen, pods: homeless }))).toEqual([]);
    expect(steps(plan({ ...seen, pods: [member(0), member(1), member(2), homeless[3]!] }))).toEqual([]);
    expect(steps(plan({ ...seen, pods: ranks.map((rank) => member(rank)) }))).toEqual(['createService']);
    const running = { ...first!, status: { ...first!.status!, podIP: '10.0.0.7' } };
    expect(steps(plan({ ...seen, pods: [running, ...others] }))).toEqual(['createService']);
    expect(steps(plan({ ...seen, pods: ranks.map((rank) => member(rank)), service }))).toEqual([]);
  });

  it('is owned by the job, and says what the job can not go on without and how it makes room', () => {
    expect(madeBy().spec).toEqual({ schedulingPolicy: { gang: { minCount: 4 } }, disruptionMode: { all: {} } });
    expect(madeBy().metadata.ownerReferences).toMatchObject([{ kind: 'TrainingJob', uid: 'job-1', controller: true }]);
    expect(madeBy({ elastic: { minRanks: 2 } }).spec).toEqual({
      schedulingPolicy: { gang: { minCount: 2 } },
      disruptionMode: { single: {} },
    });
    const schedulingConstraints = { topology: [{ key: 'example.com/rack' }] };
    const scheduling = { schedulingConstraints, disruptionMode: { single: {} }, priorityClassName: 'high' };
    expect(madeBy({ scheduling }).spec).toEqual({
      schedulingPolicy: { gang: { minCount: 4 } },
      schedulingConstraints,
      disruptionMode: { single: {} },
      priorityClassName: 'high',
    });
  });

  it('has the priority of its pods', () => {
    const { actions } = plan({ job: four({ scheduling: { priorityClassName: 'high' } }), service, gangs: 'served' });
    const pods = actions.filter((action) => action.type === 'createPod');
    expect(pods.map(({ pod: { spec } }) => spec.priorityClassName)).toEqual(['high', 'high', 'high', 'high']);
  });

  it('is none for one pod, for pods that are to be placed one by one, and where all start at once', () => {
    const none = (seen: Partial<Observed>) => {
      const made = plan({ service, ...seen });
      expect(conditions(made)).not.toHaveProperty('GangScheduled');
      return steps(made);
    };
    expect(none({ job: job(), gangs: 'served' })).toEqual(['createPod in undefined']);
    const apart = four({ scheduling: { schedulingPolicy: { basic: {} } } });
    expect(none({ job: apart, gangs: 'served' })).toEqual(ranks.map(() => 'createPod in undefined'));
    const demanded = four({ scheduling: { schedulingPolicy: { gang: {} } } });
    expect(none({ job: demanded, gangs: 'unneeded' })).toEqual(ranks.map(() => 'createPod in undefined'));
  });

  it('of a new attempt is another one, and that of the old attempt goes', () => {
    const made = plan({ job: four({}, { attempt: 1 }), service, gangs: 'served', podGroups: [group({ placed: 'True' })] });
    expect(steps(made)).toEqual([
      'deletePodGroup moby-workers-0',
      'createPodGroup moby-workers-1',
      ...ranks.map(() => 'createPod in moby-workers-1'),
    ]);
  });

  it('takes in the pod that replaces a lost one, and is made again if somebody deleted it', () => {
    const left = [0, 1, 3].map((rank) => member(rank));
    const podGroups = [group({ placed: 'True' })];
    expect(steps(plan({ job: four(), service, gangs: 'served', pods: left, podGroups }))).toEqual([
      'createPod in moby-workers-0',
    ]);
    const all = ranks.map((rank) => member(rank));
    expect(steps(plan({ job: four(), service, gangs: 'served', pods: all }))).toEqual(['createPodGroup moby-workers-0']);
  });

  it('does not come over pods that were made without one', () => {
    const pods = [0, 1, 3].map((rank) => pod({ rank }, spec));
    const made = plan({ job: four(), service, gangs: 'served', pods });
    expect(steps(made)).toEqual(['createPod in undefined']);
    expect(conditions(made)['GangScheduled']).toBe('False NotSupportedByCluster');
  });

  it('goes when the job is suspended, and is waited for when it goes on before that', () => {
    const known = [
      { type: 'GangScheduled', status: 'True', reason: 'Placed', message: '', lastTransitionTime: isoTime(now) } as const,
    ];
    const suspended = plan({
      job: four({ suspend: true }, { conditions: known }),
      gangs: 'served',
      pods: ranks.map((rank) => member(rank)),
      podGroups: [group()],
    });
    expect(steps(suspended)).toEqual([...ranks.map(() => 'deletePod'), 'deletePodGroup moby-workers-0']);
    expect(conditions(suspended)['GangScheduled']).toBe('Unknown Suspended');
    const resumed = plan({ job: four(), service, gangs: 'served', podGroups: [group({ ending: true })] });
    expect(steps(resumed)).toEqual([]);
    expect(conditions(resumed)['Ready']).toBe('False PodGroupEnding');
    expect(messageOf(resumed, 'Ready')).toContain('kube-controller-manager');
  });

  it('is made anew if the job asks for something else before there are pods', () => {
    const wider = four({ scheduling: { priorityClassName: 'high' } });
    expect(steps(plan({ job: wider, service, gangs: 'served', podGroups: [group()] }))).toEqual([
      'deletePodGroup moby-workers-0',
    ]);
  });
});

describe('a cluster without gangs', () => {
  it('places the pods one by one, and the job says so', () => {
    const made = plan({ job: four(), service, gangs: 'absent' });
    expect(steps(made)).toEqual(ranks.map(() => 'createPod in undefined'));
    expect(conditions(made)).toMatchObject({ GangScheduled: 'False NotSupportedByCluster', Ready: 'False Starting' });
    expect(messageOf(made, 'GangScheduled')).toMatchInlineSnapshot(
      `"the pods are placed one by one, as the cluster does not serve PodGroup of scheduling.k8s.io/v1beta1; jobs that fit alone but not together may wait for each other. For gangs, use Kubernetes 1.37 or newer with feature gate GenericWorkload in its API server, controller manager and scheduler, and --runtime-config=scheduling.k8s.io/v1beta1=true."`,
    );
  });

  it('says so in the same words when the pods are there, so that nothing is written for it', () => {
    const before = plan({ job: four(), service, gangs: 'absent' });
    const pods = ranks.map((rank) => pod({ rank }));
    const after = plan({ job: four({}, { conditions: before.status.conditions }), service, gangs: 'absent', pods });
    expect(messageOf(after, 'GangScheduled')).toBe(messageOf(before, 'GangScheduled'));
  });

  it('lets a job wait that asks for a gang, with what to do, until it has them', () => {
    const demanding = four({ scheduling: { schedulingPolicy: { gang: {} } } });
    const waiting = plan({ job: demanding, service, gangs: 'absent' });
    expect(said(waiting)).toMatchObject({ actions: [], state: 'Pending' });
    expect(conditions(waiting)).toMatchObject({
      Ready: 'False GangNotSupported',
      Reconciling: 'True GangNotSupported',
      GangScheduled: 'False NotSupportedByCluster',
    });
    expect(messageOf(waiting, 'Ready')).toMatchInlineSnapshot(
      `"the job waits, as the cluster does not serve PodGroup of scheduling.k8s.io/v1beta1 and scheduling.schedulingPolicy.gang asks for it. For gangs, use Kubernetes 1.37 or newer with feature gate GenericWorkload in its API server, controller manager and scheduler, and --runtime-config=scheduling.k8s.io/v1beta1=true; or leave out schedulingPolicy."`,
    );
    expect(steps(plan({ job: demanding, service, gangs: 'served' }))).toHaveLength(5);
  });
});

describe('what the scheduler says', () => {
  const seen = (pods: Pod[], state: GroupState, more: object = {}) =>
    plan({ job: four(more), service, gangs: 'served', pods, podGroups: [group(state, more)] });
  const refusal = 'minCount (4) cannot be satisfied: 2 scheduled, 1 remaining';
  const refusals = [`pod group is unschedulable, ${refusal}`, '0/2 nodes are available: 2 Insufficient cpu.', refusal, refusal];
  const refused = ranks.map((rank) => member(rank, { refused: refusals[rank]! }));

  it('of the gang is in Ready and GangScheduled, with what the pod lacks that has no place', () => {
    const made = seen(refused, { placed: 'False', reason: 'Unschedulable', message: refusal });
    expect(conditions(made)).toMatchObject({ Ready: 'False Unschedulable', GangScheduled: 'False Unschedulable' });
    expect(messageOf(made, 'Ready')).toBe(
      `no place for a gang of 4 pods (PodGroup moby-workers-0): ${refusal}; pod moby-worker-1: ${refusals[1]}`,
    );
    expect(messageOf(made, 'GangScheduled')).toBe(`PodGroup moby-workers-0: ${refusal}`);
  });

  it('of pods that were taken away counts, though the gang had its place once and for good', () => {
    const made = seen(refused, { placed: 'True' });
    expect(conditions(made)).toMatchObject({ Ready: 'False Unschedulable', GangScheduled: 'False Unschedulable' });
    expect(messageOf(made, 'Ready')).toContain(refusals[1]);
    expect(
      conditions(
        seen(
          ranks.map((rank) => member(rank, { isNew: true })),
          { placed: 'True' },
        ),
      )['GangScheduled'],
    ).toBe('Unknown Waiting');
  });

  it('without a word of the gang is no placement of a gang, even if all pods have a node', () => {
    expect(
      conditions(
        seen(
          ranks.map((rank) => member(rank)),
          {},
        ),
      )['GangScheduled'],
    ).toBe('Unknown Waiting');
  });

  it('of the rest of an elastic gang does not matter while enough have a place', () => {
    const elastic = { elastic: { minRanks: 2 } };
    const pods = [member(0), member(1), ...[2, 3].map((rank) => member(rank, { refused: 'no room' }))];
    const made = seen(pods, { placed: 'False', reason: 'Unschedulable' }, elastic);
    expect(conditions(made)).toMatchObject({ Ready: 'True Running', GangScheduled: 'True Placed' });
  });

  it('of an error of its own names the claims, which it fails by when they are missing', () => {
    const error = 'error in "DynamicResources" PodGroupPostFilter plugins: not found';
    const made = seen(
      ranks.map((rank) => member(rank, { isNew: true })),
      { placed: 'False', reason: 'SchedulerError', message: error },
    );
    expect(messageOf(made, 'Ready')).toContain(`${error}; see whether the claims exist that the pods mount: windlass-jobs and`);
  });

  it('is a warning where the cluster left out the topology that was asked for', () => {
    const more = { scheduling: { schedulingConstraints: { topology: [{ key: 'example.com/rack' }] } } };
    const kept = group({ placed: 'True' }, more);
    const { schedulingConstraints: _, ...without } = kept.spec;
    const pods = ranks.map((rank) => member(rank));
    const seenWith = (found: PodGroup) => plan({ job: four(more), service, gangs: 'served', pods, podGroups: [found] });
    expect(conditions(seenWith(kept))['GangScheduled']).toBe('True Placed');
    const made = seenWith({ ...kept, spec: without });
    expect(conditions(made)['GangScheduled']).toBe('True TopologyIgnored');
    expect(messageOf(made, 'GangScheduled')).toContain('TopologyAwareWorkloadScheduling');
  });
});

describe('the pod sets of a job', () => {
  it('are told before there are pods, also while it is suspended', () => {
    const scheduling = { priorityClassName: 'high', schedulingConstraints: { topology: [{ key: 'example.com/rack' }] } };
    const podTemplate = {
      nodeSelector: { disk: 'fast' },
      tolerations: [{ key: 'reserved', operator: 'Exists' }],
      resources: { requests: { cpu: 2, memory: '4Gi' }, limits: { memory: '8Gi' } },
    };
    const asks = { suspend: true, scheduling, podTemplate, elastic: { minRanks: 2 } };
    expect(plan({ job: job({ ...spec, ...asks }, {}) }).status.podSets).toEqual([
      {
        name: 'worker',
        count: 4,
        minCount: 2,
        requests: { cpu: '2', memory: '4Gi' },
        limits: { memory: '8Gi' },
        nodeSelector: { disk: 'fast' },
        tolerations: [{ key: 'reserved', operator: 'Exists' }],
        priorityClassName: 'high',
        topologyKey: 'example.com/rack',
      },
    ]);
  });

  it('have what the runtime gives under what the job asks for', () => {
    const given = {
      ...effective,
      podTemplate: { nodeSelector: { disk: 'slow', zone: 'a' }, resources: { requests: { cpu: 1 } } },
    };
    const seen = four({ podTemplate: { nodeSelector: { disk: 'fast' } } }, { effective: given });
    expect(plan({ job: seen, service }).status.podSets).toMatchObject([
      { requests: { cpu: '1' }, nodeSelector: { disk: 'fast', zone: 'a' } },
    ]);
  });
});
