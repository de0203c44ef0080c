// Brings this agent together with the others: pod 0 holds the rendezvous and reports for all, the other pods join it.
import { connectBusPublisher } from '#runtime/api/bus-publisher.ts';
import type { TrainingEnvironment } from '#runtime/api/environment.ts';
import { WindlassError } from '#runtime/api/errors.ts';
import { rulesOfJob } from '#runtime/api/fault-rules.ts';
import type { BusIdentity } from '#runtime/api/nats-bus.ts';
import type { Progress, ProgressReport } from '#runtime/api/messages.ts';
import { progressSubject } from '#runtime/api/subjects.ts';
import { jobUri } from '#runtime/api/credentials.ts';
import type { PodIdentity } from './identity/pod-identity.ts';
import { stayJoined } from './rendezvous/client.ts';
import { Coordinator } from './rendezvous/coordinator.ts';
import { serveRendezvous } from './rendezvous/server.ts';
import { reportWorld } from './report.ts';
import type { Session } from './session.ts';

type Log = (fields: object, message: string) => void;

export interface Meeting {
  /** Reports that there is progress. */
  report(): void;
  /** Rejects when this agent can't do its work. */
  readonly failed: Promise<never>;
  close(): Promise<void>;
}

const tickMs = 250;
const reportMs = 1_000;
/** The other pods get this long to hear how the job ended. */
const partingMs = 2_000;
/** A pod without a rank that is refused or not answered for this long ends. One that waits for pod 0 to come up does not. */
const lonelyMs = 600_000;

/** Throws WL_PORT_TAKEN, and WL_INTERNAL for variables that a world of several pods needs. */
export function meet(
  env: TrainingEnvironment,
  session: Session,
  progress: () => Progress | undefined,
  log: Log,
  identity: PodIdentity | undefined,
): Promise<Meeting> {
  return env.WL_RANK === 0 ? hold(env, session, progress, log, identity) : join(env, session, log, identity);
}

async function hold(
  env: TrainingEnvironment,
  session: Session,
  progress: () => Progress | undefined,
  log: Log,
  identity: PodIdentity | undefined,
): Promise<Meeting> {
  const { WL_WORLD_SIZE: pods, WL_HANG_TIMEOUT_SECONDS: hangSeconds, WL_POD_NAME: pod, WL_ATTEMPT: attempt } = env;
  const now = () => performance.now();
  const coordinator = new Coordinator({
    rule: { pods, min: Math.min(pods, env.WL_ELASTIC_MIN ?? pods), max: Math.min(pods, env.WL_ELASTIC_MAX ?? pods) },
    maxRestarts: env.WL_MAX_RESTARTS,
    rules: rulesOfJob(env.WL_JOB),
    windowMs: env.WL_ELASTIC_WAIT_SECONDS * 1000,
    hangTimeoutMs: hangSeconds === undefined ? undefined : hangSeconds * 1000,
    now,
    time: () => new Date().toISOString(),
    log,
  });
  const server =
    pods === 1
      ? undefined
      : await serveRendezvous({
          address: need(env, 'WL_POD_IP'),
          port: need(env, 'WL_RENDEZVOUS_PORT'),
          secret: identity?.current.secret ?? need(env, 'WL_SECRET'),
          attempt,
          pods,
          coordinator,
          tls: tlsOf(env, identity),
        });
  if (server) log({ address: env.WL_POD_IP, port: server.port }, 'the rendezvous listens');
  const bus = connectBusPublisher({
    address: env.WL_BUS,
    certificates: env.WL_BUS_CERTIFICATES,
    identity: identity && busIdentity(identity),
    name: pod,
    log,
  });
  const report = () => {
    const { restarts } = coordinator;
    const figures = progress() ?? { step: 0, steps: 0 };
    const message: ProgressReport = {
      uid: env.WL_UID,
      attempt,
      rank: 0,
      pod,
      time: new Date().toISOString(),
      restarts,
      progress: coordinator.isRestarting ? { ...figures, phase: `restarting (${restarts} of ${env.WL_MAX_RESTARTS})` } : figures,
      ...reportWorld(coordinator.view, now()),
    };
    bus.publish(progressSubject(env.WL_NAMESPACE, env.WL_NAME), message);
  };

  // What the two say to each other takes a turn of its own, as it would over a network.
  const place = coordinator.join({ index: 0, pod, epoch: -1, send: (said) => setImmediate(() => session.hear(said)) });
  session.joined((said) => setImmediate(() => place.hear(said)));
  const ticking = setInterval(() => coordinator.tick(), tickMs);
  const reporting = setInterval(() => {
    if (progress() !== undefined || coordinator.view.fault !== undefined) report();
  }, reportMs);
  return {
    report,
    failed: new Promise(() => {}),
    async close() {
      await server?.close(partingMs);
      clearInterval(ticking);
      clearInterval(reporting);
      await bus.close(1_000);
    },
  };
}

async function join(env: TrainingEnvironment, session: Session, log: Log, identity: PodIdentity | undefined): Promise<Meeting> {
  const secret = identity ? () => identity.current.secret : () => need(env, 'WL_SECRET');
  secret();
  const rendezvous = need(env, 'WL_RENDEZVOUS');
  const colon = rendezvous.lastIndexOf(':');
  const closing = new AbortController();
  const failed = Promise.withResolvers<never>();
  let lostAt: number | undefined;
  let lastWhy = '';
  const joined = stayJoined(
    {
      host: rendezvous.slice(0, colon),
      port: Number(rendezvous.slice(colon + 1)),
      hostsFile: env.WL_HOSTS_FILE,
      secret,
      tls: tlsOf(env, identity),
      index: env.WL_RANK,
      pod: env.WL_POD_NAME,
      attempt: env.WL_ATTEMPT,
      epoch: () => session.epoch,
      onJoined: (send) => {
        lostAt = undefined;
        lastWhy = '';
        log({ rendezvous }, 'joined the rendezvous');
        session.joined(send);
      },
      onSaid: (said) => session.hear(said),
      onLost: ({ message }, isThere) => {
        lostAt = isThere ? (lostAt ?? performance.now()) : undefined;
        if (message !== lastWhy) log({ rendezvous, reason: message }, 'the rendezvous is out of reach; trying again');
        lastWhy = message;
        const lonely = lostAt === undefined ? 0 : performance.now() - lostAt;
        if (session.isRunning || lonely < lonelyMs) return;
        const seconds = Math.round(lonely / 1000);
        const told = `pod ${env.WL_POD_NAME} has not reached the rendezvous at ${rendezvous} for ${seconds} s: ${message}`;
        failed.reject(new WindlassError('WL_RENDEZVOUS', told));
      },
    },
    closing.signal,
  );
  return {
    report() {},
    failed: failed.promise,
    async close() {
      closing.abort();
      await joined;
    },
  };
}

function tlsOf(env: TrainingEnvironment, identity: PodIdentity | undefined) {
  return identity && { identity, job: jobUri(env.WL_NAMESPACE, env.WL_UID) };
}

/** What the bus asks for, at each connection. Only the bus of the installation takes our tokens, and is vouched for by its authority. */
function busIdentity(identity: PodIdentity): () => Promise<BusIdentity> {
  return async () => {
    const { cert, key, ca, bus } = identity.current;
    return bus.token === undefined ? { cert, key, ca: bus.ca } : { cert, key, ca, login: { token: bus.token, seed: bus.seed } };
  };
}

function need<K extends keyof TrainingEnvironment>(env: TrainingEnvironment, name: K): NonNullable<TrainingEnvironment[K]> {
  const value = env[name];
  if (value !== undefined && value !== null) return value;
  throw new WindlassError('WL_INTERNAL', `the environment of a job of ${env.WL_WORLD_SIZE} pods lacks ${name}`);
}
