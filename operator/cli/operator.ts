// `windlass operator`: the controllers on a cluster, with what surrounds them: access, leadership, probes, metrics, and an end in order.
import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { pino } from 'pino';
import type { DestinationStream, Logger } from 'pino';
import { label, managedBy } from '#crds/names.ts';
import { leaseName } from '#operator/controllers/access.ts';
import { addControllers } from '#operator/controllers/main.ts';
import type { NetworkSettings } from '#operator/controllers/network/policy.ts';
import { addObjectMetrics } from '#operator/controllers/object-metrics/main.ts';
import type { ProgressSource } from '#operator/controllers/progress-source.ts';
import { probe, servePages } from '#operator/framework/health-server.ts';
import type { Pages, Served } from '#operator/framework/health-server.ts';
import { Leadership } from '#operator/framework/leadership.ts';
import { Manager } from '#operator/framework/manager.ts';
import { addProcessMetrics, createMetrics } from '#operator/framework/metrics.ts';
import type { Metrics } from '#operator/framework/metrics.ts';
import { profilePages } from '#operator/framework/profile.ts';
import { AccessError } from '#operator/kube/api-server.ts';
import type { ApiServer } from '#operator/kube/api-server.ts';
import { steadyClock } from '#operator/kube/clock.ts';
import { NetworkPolicy, Node, Pod, PodDisruptionBudget, Service } from '#operator/kube/core.ts';
import { PodGroup } from '#operator/kube/pod-group.ts';
import { HttpKube } from '#operator/kube/http-kube.ts';
import { inCluster, isInCluster } from '#operator/kube/in-cluster.ts';
import { fromKubeconfig } from '#operator/kube/kubeconfig.ts';
import { TrustOfInstallation } from '#operator/trust/main.ts';
import { createTrustMetrics } from '#operator/trust/trust-metrics.ts';
import { Transport } from '#operator/kube/transport.ts';
import type { TransportOptions } from '#operator/kube/transport.ts';
import { WindlassError } from '#runtime/api/errors.ts';
import { connectNatsBus } from '#runtime/api/nats-bus.ts';
import type { NatsBus } from '#runtime/api/nats-bus.ts';

/** As the command line gives them. */
export interface OperatorFlags {
  kubeconfig?: string;
  context?: string;
  namespace?: string[];
  image: string;
  bus?: string;
  busCa?: string;
  ownBus: boolean;
  networkPolicies: boolean;
  credentialsUrl?: string;
  credentialsAddress: string;
  /** Milliseconds. */
  certificateLifetime: number;
  authorityLifetime: number;
  leaderElect: boolean;
  leaseNamespace?: string;
  metricsAddress: string;
  healthAddress: string;
  profileAddress: string;
  workers: number;
  logLevel: string;
}

export interface OperatorOptions extends Omit<OperatorFlags, 'namespace'> {
  /** All if empty. */
  namespaces: readonly string[];
  version: string;
  /** SIGTERM or Ctrl-C. */
  signal: AbortSignal;
  /** Where log lines go; standard output if absent. */
  logTo?: DestinationStream;
}

/** controller-runtime's: how long the first listing may take. */
const syncTimeoutMs = 120_000;
/** Half of the time within which a lease must be renewed. */
const leaseTimeoutMs = 5000;
/** Address that means nowhere. */
const nowhere = '0';

/** Reports of progress come over a bus beside the API. Without one, the life of a job is told by its pods alone. */
const noProgress: ProgressSource = { subscribe: () => () => {} };

/**
 * Runs until the signal. Throws WL_CLUSTER_ACCESS when there is no way to the API, WL_CLUSTER_UNREADY when it does not tell what exists, and
 * WL_LEADERSHIP_LOST when another process may lead from now on.
 */
export async function runOperator(options: OperatorOptions): Promise<void> {
  const { version, signal } = options;
  const identity = `${hostname()}_${randomUUID()}`;
  const log = openLog(options, identity);
  const metrics = createMetrics();
  addProcessMetrics(metrics.registry);
  await using started = new AsyncDisposableStack();

  const server = await findServer(options);
  const connect = (more: TransportOptions = {}) => {
    const transport = new Transport(server, { userAgent: `windlass/${version}`, onAnswer: count(metrics), ...more });
    started.defer(() => transport.close());
    return new HttpKube(transport);
  };
  const leadership = options.leaderElect
    ? createLeadership(options, connect({ maxRequests: 1, timeoutMs: leaseTimeoutMs }), server.namespace, identity, log, metrics)
    : undefined;
  const manager = new Manager({
    client: connect(),
    log,
    metrics,
    instance: identity,
    syncTimeoutMs,
    selectors: [
      ...[NetworkPolicy, Pod, PodDisruptionBudget, PodGroup, Service].map((type) => ({
        type,
        labels: { [label.managedBy]: managedBy },
      })),
      { type: Node, fields: { 'spec.unschedulable': 'true' } },
    ],
    ...(options.namespaces.length > 0 ? { namespaces: options.namespaces } : {}),
    ...(leadership ? { leadership } : {}),
  });
  const { image, bus: busUrl, workers } = options;
  const trust = createTrust(options, manager, connect(), server.namespace, () => leadership?.holds ?? true, log, metrics);
  if (trust) {
    manager.addService(trust.service);
    started.defer(() => trust.close());
    trust.start();
  }
  const bus = busUrl === undefined ? undefined : connectBus(busUrl, identity, trust, log, metrics);
  if (bus) started.defer(() => bus.close());
  addControllers(manager, {
    builtin: { image, ...(busUrl === undefined ? {} : { bus: busUrl }), ...(trust ? { credentials: trust.settings } : {}) },
    hasScheduler: true,
    progress: bus ?? noProgress,
    workers,
    network: options.networkPolicies ? networkOf(options, server.namespace) : undefined,
  });
  addObjectMetrics(metrics.registry, manager, () => leadership?.holds ?? true);

  const serve = async (what: string, address: string, pages: Pages) => {
    if (address === nowhere) return;
    const served: Served = await servePages(address, pages);
    started.defer(() => served.close());
    log.info({ port: served.port }, `${what} can be asked`);
  };
  const contentType = metrics.registry.contentType;
  await serve('metrics', options.metricsAddress, {
    '/metrics': async () => ({ status: 200, contentType, body: await manager.metricsText() }),
  });
  await serve('health', options.healthAddress, {
    '/healthz': probe(() => (leadership?.lost.aborted ? 'the lease was lost' : undefined)),
    '/readyz': probe(() => {
      if (signal.aborted) return 'stopping';
      return manager.synced ? undefined : 'what exists is not known yet';
    }),
  });
  await serve('profiles', options.profileAddress, profilePages);

  log.info({ server: server.url.origin, namespaces: options.namespaces }, 'starting');
  started.defer(async () => {
    log.info('stopping');
    await manager.stop();
    log.info('stopped');
  });
  await untilEnd(manager, leadership, signal, log);
}

async function untilEnd(manager: Manager, leadership: Leadership | undefined, signal: AbortSignal, log: Logger): Promise<void> {
  const ended = new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener('abort', () => resolve(), { once: true });
    leadership?.lost.addEventListener('abort', () => resolve(), { once: true });
  });
  const running = manager.start().then(
    () => log.info('controllers run'),
    (error: Error) => {
      throw new WindlassError('WL_CLUSTER_UNREADY', error.message, { cause: error });
    },
  );
  await Promise.race([ended, running.then(() => ended)]);
  if (!leadership?.lost.aborted) return;
  const reason = leadership.lost.reason as Error;
  log.fatal({ err: reason }, 'leadership was lost');
  throw new WindlassError('WL_LEADERSHIP_LOST', reason.message, { cause: reason });
}

/** What pods reach of this installation. */
function networkOf({ bus, ownBus, credentialsUrl, leaseNamespace }: OperatorOptions, ownNamespace: string): NetworkSettings {
  const portOf = (url: string | undefined) => (url === undefined ? [] : [Number(new URL(url).port)]);
  const [own, other] = ownBus ? [bus, undefined] : [undefined, bus];
  return {
    namespace: leaseNamespace ?? ownNamespace,
    ownPorts: [...portOf(own), ...portOf(credentialsUrl)],
    otherPorts: portOf(other),
  };
}

/** Pods of jobs get credentials where there is a URL at which they find them. */
function createTrust(
  options: OperatorOptions,
  manager: Manager,
  client: HttpKube,
  ownNamespace: string,
  leads: () => boolean,
  log: Logger,
  { registry }: Metrics,
): TrustOfInstallation | undefined {
  const { credentialsUrl: url, credentialsAddress: address, certificateLifetime, authorityLifetime, leaseNamespace } = options;
  if (url === undefined) return undefined;
  return new TrustOfInstallation({
    manager,
    client,
    namespace: leaseNamespace ?? ownNamespace,
    leads,
    rules: { certificateMs: certificateLifetime, authorityMs: authorityLifetime },
    url,
    address,
    ownBus: options.ownBus ? options.bus : undefined,
    busCa: options.busCa === undefined ? undefined : readFileSync(options.busCa, 'utf8'),
    metrics: createTrustMetrics(registry),
    log,
  });
}

/** In the background: the operator works without it, and hears of progress as soon as it is there. */
function connectBus(
  server: string,
  identity: string,
  trust: TrustOfInstallation | undefined,
  log: Logger,
  metrics: Metrics,
): NatsBus {
  metrics.busConnected.set({ server }, 0);
  return connectNatsBus({
    server,
    name: identity,
    certificates: process.env['WL_BUS_CERTIFICATES'],
    identity: trust && (() => trust.busIdentity()),
    onChange(connected, why) {
      metrics.busConnected.set({ server }, connected ? 1 : 0);
      if (connected) log.info({ bus: server }, 'the event bus is there');
      else log.warn({ bus: server, why }, 'the event bus is away; trying again');
    },
  });
}

async function findServer({ kubeconfig, context }: OperatorOptions): Promise<ApiServer> {
  try {
    if (kubeconfig === undefined && context === undefined && isInCluster()) return await inCluster();
    return await fromKubeconfig({ file: kubeconfig, context });
  } catch (error) {
    if (error instanceof AccessError) throw new WindlassError('WL_CLUSTER_ACCESS', error.message, { cause: error });
    throw error;
  }
}

function createLeadership(
  { leaseNamespace }: OperatorOptions,
  client: HttpKube,
  ownNamespace: string,
  identity: string,
  log: Logger,
  metrics: Metrics,
): Leadership {
  const labels = { name: leaseName };
  metrics.leading.set(labels, 0);
  return new Leadership({
    client,
    clock: steadyClock,
    namespace: leaseNamespace ?? ownNamespace,
    name: leaseName,
    identity,
    onChange(leads) {
      metrics.leading.set(labels, leads ? 1 : 0);
      log.info({ identity }, leads ? 'this operator leads' : 'this operator leads no more');
    },
    onSlowPath: () => metrics.slowRenewals.inc(labels),
    onError: (error) => log.warn({ err: error }, 'the lease could not be read or renewed; trying again'),
  });
}

function count(metrics: Metrics): NonNullable<TransportOptions['onAnswer']> {
  return ({ method, host, code, seconds }) => {
    metrics.requests.inc({ code: code === 0 ? '<error>' : String(code), method, host });
    metrics.requestSeconds.observe({ verb: method, host }, seconds);
  };
}

function openLog({ logLevel, logTo, version }: OperatorOptions, identity: string): Logger {
  const settings = {
    level: logLevel,
    base: { service: 'operator', version, instance: identity },
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (level: string) => ({ level }) },
  };
  return logTo ? pino(settings, logTo) : pino(settings);
}
