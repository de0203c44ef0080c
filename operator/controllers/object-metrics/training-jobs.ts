// What Prometheus learns about TrainingJobs.
import { TrainingJobStatus } from '#crds/v1alpha1/index.ts';
import type { TrainingJob } from '#crds/v1alpha1/index.ts';
import { oneOf, secondsOf, single } from './family.ts';
import type { Family } from './family.ts';
import { lostCauses } from '../training-job/goodput.ts';
import { podsOf } from '../training-job/pods.ts';

const states = TrainingJobStatus.shape.state.unwrap().options;

const progress = (job: TrainingJob) => job.status?.progress ?? {};
const isRunning = (job: TrainingJob) => job.status?.state === 'Running';
/** Speed and estimates hold only while the job runs. */
const whileRunning = (job: TrainingJob, value: number | undefined) => (isRunning(job) ? value : undefined);

export const trainingJobFamilies: readonly Family<TrainingJob>[] = [
  {
    name: 'windlass_trainingjob_info',
    type: 'gauge',
    unit: '1',
    help: 'Always 1: what the job does, and the model that it publishes to.',
    labels: ['task', 'model'],
    samples: ({ spec }) => [{ value: 1, labels: { task: Object.keys(spec.task)[0] ?? '', model: spec.output.model } }],
  },
  single({
    name: 'windlass_trainingjob_created_timestamp_seconds',
    type: 'gauge',
    unit: 'seconds since 1970',
    help: 'When the job was created.',
    value: ({ metadata }) => secondsOf(metadata.creationTimestamp),
  }),
  single({
    name: 'windlass_trainingjob_start_timestamp_seconds',
    type: 'gauge',
    unit: 'seconds since 1970',
    help: 'When the job started, or went on after a suspension.',
    value: ({ status }) => secondsOf(status?.startTime),
  }),
  single({
    name: 'windlass_trainingjob_completion_timestamp_seconds',
    type: 'gauge',
    unit: 'seconds since 1970',
    help: 'When the job ended.',
    value: ({ status }) => secondsOf(status?.completionTime),
  }),
  {
    name: 'windlass_trainingjob_state',
    type: 'gauge',
    unit: '1',
    help: `1 for the state that the job is in, 0 for the others: ${states.join(', ')}.`,
    labels: ['state'],
    samples: ({ status }) => oneOf('state', states, status?.state ?? 'Pending'),
  },
  {
    name: 'windlass_trainingjob_reason',
    type: 'gauge',
    unit: '1',
    help: 'Always 1: the reason of the condition Ready.',
    labels: ['reason'],
    samples: ({ status }) =>
      (status?.conditions ?? []).filter(({ type }) => type === 'Ready').map(({ reason }) => ({ value: 1, labels: { reason } })),
  },
  single({
    name: 'windlass_trainingjob_ranks',
    type: 'gauge',
    unit: 'ranks',
    help: 'Ranks that the job uses when it can have them.',
    value: podsOf,
  }),
  single({
    name: 'windlass_trainingjob_ranks_ready',
    type: 'gauge',
    unit: 'ranks',
    help: 'Ranks whose pod is ready.',
    value: ({ status }) => status?.readyRanks ?? 0,
  }),
  single({
    name: 'windlass_trainingjob_step',
    type: 'gauge',
    unit: 'steps',
    help: 'Steps done. Goes back when a restart resumes from a checkpoint.',
    value: (job) => progress(job).step,
  }),
  single({
    name: 'windlass_trainingjob_steps',
    type: 'gauge',
    unit: 'steps',
    help: 'Steps asked for.',
    value: (job) => progress(job).steps,
  }),
  single({
    name: 'windlass_trainingjob_loss',
    type: 'gauge',
    unit: 'nats per token',
    help: 'Loss of the newest step.',
    value: (job) => progress(job).loss,
  }),
  single({
    name: 'windlass_trainingjob_held_out_loss',
    type: 'gauge',
    unit: 'nats per token',
    help: 'Newest loss on held-out data.',
    value: (job) => progress(job).heldOutLoss,
  }),
  single({
    name: 'windlass_trainingjob_gradient_norm',
    type: 'gauge',
    unit: '1',
    help: 'Global gradient norm of the newest step, before clipping.',
    value: (job) => progress(job).gradientNorm,
  }),
  single({
    name: 'windlass_trainingjob_learning_rate',
    type: 'gauge',
    unit: '1',
    help: 'Learning rate of the newest step.',
    value: (job) => progress(job).learningRate,
  }),
  single({
    name: 'windlass_trainingjob_tokens_per_second',
    type: 'gauge',
    unit: 'tokens per second',
    help: 'Tokens trained per second, while the job runs.',
    value: (job) => whileRunning(job, progress(job).tokensPerSecond),
  }),
  single({
    name: 'windlass_trainingjob_peak_ratio',
    type: 'gauge',
    unit: '0 to 1',
    help: 'Share of the measured peak of the machine, while the job runs.',
    value: (job) => whileRunning(job, progress(job).peakShare),
  }),
  single({
    name: 'windlass_trainingjob_eta_seconds',
    type: 'gauge',
    unit: 'seconds',
    help: 'Time to the last step as it goes now, while the job runs.',
    value: (job) => whileRunning(job, progress(job).etaSeconds),
  }),
  {
    name: 'windlass_trainingjob_phase_ratio',
    type: 'gauge',
    unit: '0 to 1',
    help: 'Share of a phase that is done, while ranks do something else than steps, such as tokenizing; 0 where it is not known.',
    labels: ['phase'],
    samples: (job) => {
      const { phase, phaseShare } = progress(job);
      return phase === undefined || !isRunning(job) ? [] : [{ value: phaseShare ?? 0, labels: { phase } }];
    },
  },
  single({
    name: 'windlass_trainingjob_progress_timestamp_seconds',
    type: 'gauge',
    unit: 'seconds since 1970',
    help: 'When progress was written to the status last.',
    value: (job) => secondsOf(progress(job).time),
  }),
  single({
    name: 'windlass_trainingjob_rank_memory_bytes',
    type: 'gauge',
    unit: 'bytes',
    help: 'Resident memory of the rank that has most, while the job runs.',
    value: (job) => {
      const known = [progress(job).rssBytes, ...(job.status?.ranks ?? []).map(({ bytes }) => bytes)].filter(
        (n) => n !== undefined,
      );
      return whileRunning(job, known.length === 0 ? undefined : Math.max(...known));
    },
  }),
  single({
    name: 'windlass_trainingjob_straggler',
    type: 'gauge',
    unit: '1',
    help: '1 while one rank is much slower than the others.',
    value: (job) => whileRunning(job, job.status?.straggler === undefined ? 0 : 1),
  }),
  single({
    name: 'windlass_trainingjob_restarts_total',
    type: 'counter',
    unit: 'restarts',
    help: 'Restarts after faults, of pods and of ranks in place.',
    value: ({ status }) => status?.restarts ?? 0,
  }),
  single({
    name: 'windlass_trainingjob_goodput_ratio',
    type: 'gauge',
    unit: '0 to 1',
    help: 'Time of steps that were done for the first time over all time since the start, without suspensions.',
    value: ({ status }) => status?.goodput?.ratio,
  }),
  {
    name: 'windlass_trainingjob_spent_seconds',
    type: 'gauge',
    unit: 'seconds',
    help: `What the time since the start went to: productive, or lost by ${lostCauses.join(', ')}.`,
    labels: ['cause'],
    samples: ({ status }) => {
      const { productiveSeconds, lost } = status?.goodput ?? {};
      if (productiveSeconds === undefined) return [];
      const spent = lostCauses.map((cause) => ({ value: lost?.[cause] ?? 0, labels: { cause } }));
      return [{ value: productiveSeconds, labels: { cause: 'productive' } }, ...spent];
    },
  },
  single({
    name: 'windlass_trainingjob_checkpoint_step',
    type: 'gauge',
    unit: 'steps',
    help: 'Step of the newest checkpoint that is safe on disk.',
    value: ({ status }) => status?.checkpoint?.step,
  }),
  single({
    name: 'windlass_trainingjob_checkpoint_timestamp_seconds',
    type: 'gauge',
    unit: 'seconds since 1970',
    help: 'When the newest checkpoint was reported.',
    value: ({ status }) => secondsOf(status?.checkpoint?.time),
  }),
  single({
    name: 'windlass_trainingjob_checkpoint_interval_steps',
    type: 'gauge',
    unit: 'steps',
    help: 'Steps between two checkpoints, as the spec asks.',
    value: ({ spec }) => spec.checkpoint.everySteps,
  }),
];
