// A cluster for tests: the API in memory, the controllers, a kubelet that follows a script, and time that passes only when all is still.
import { setImmediate } from 'node:timers/promises';
import { pino } from 'pino';
import { Manager } from '#operator/framework/manager.ts';
import { isoTime, ManualClock } from '#operator/kube/clock.ts';
import { keyOf } from '#operator/kube/client.ts';
import { isPodFinished, Pod } from '#operator/kube/core.ts';
import { MemoryKube } from '#operator/kube/memory-kube.ts';
import { PodGroup } from '#operator/kube/pod-group.ts';
import { withWriteHook } from '#operator/kube/write-hook.ts';
import type { Write } from '#operator/kube/write-hook.ts';
import { createInProcessBus } from '#runtime/api/bus.ts';
import type { TerminationMessage } from '#runtime/api/messages.ts';
import { guardedKube } from './guarded-kube.ts';
import { addControllers } from './main.ts';

/** How a container of a running pod ends; undefined lets it run on. */
export type Fate = (pod: Pod) => { exitCode: number; words?: TerminationMessage } | undefined;

/** When the operator is killed: around its nth write. */
export interface Kill {
  write: number;
  when: 'before' | 'after';
}

/** Controllers that work longer than this on one change run in a circle. */
const maxRounds = 2000;

export class FakeCluster {
  readonly clock = new ManualClock();
  readonly kube: MemoryKube;
  readonly bus = createInProcessBus();
  /** Writes of the operator, over all its lives. */
  readonly writes: Write[] = [];
  /** What the operator asked of the API, over all its lives. */
  readonly uses = new Set<string>();
  /** Names of pods in the order they were made. */
  readonly podsMade: string[] = [];
  fate: Fate = () => undefined;
  /** Pods that answer once they run. */
  answers: (pod: Pod) => boolean = () => true;
  /** Pods that do not end, as on a node that is gone. */
  hangs: (pod: Pod) => boolean = () => false;
  #kill: Kill | undefined;
  #dead = false;
  /** What happens while no operator runs, after the kill. */
  onKill: () => Promise<void> = async () => {};
  /** Whether the kill that was asked for has happened. */
  killed = false;
  #manager: Manager | undefined;
  #lastVersion = -1;
  #stopWatch = new AbortController();

  constructor(kill?: Kill) {
    let uids = 0;
    this.kube = new MemoryKube({ clock: this.clock, uid: () => `uid-${++uids}`, alsoServes: [PodGroup] });
    this.#kill = kill;
    void this.#countPods();
  }

  /** Starts an operator. Its client dies with it: after the kill no call of it reaches the API. */
  async start(): Promise<void> {
    let dead = false;
    const die = () => {
      dead = true;
      this.#dead = true;
      this.killed = true;
      throw new Error('the operator was killed');
    };
    const client = withWriteHook(guardedKube(this.kube, this.uses), {
      before: (write) => {
        if (dead) throw new Error('the operator is dead');
        this.writes.push(write);
        if (this.#kill?.when === 'before' && this.#kill.write === this.writes.length) die();
      },
      after: (write) => {
        if (this.#kill?.when === 'after' && this.writes[this.#kill.write - 1] === write && !dead) die();
      },
    });
    this.#manager = new Manager({ client, clock: this.clock, log: pino({ level: 'silent' }) });
    const secret = () => 'known to the pods of an attempt';
    addControllers(this.#manager, {
      builtin: { image: 'windlass:test' },
      progress: this.bus,
      hasScheduler: true,
      secret,
      removeAfterMs: 2_000,
    });
    await this.#manager.start();
  }

  async stop(): Promise<void> {
    await this.#manager?.stop();
    this.#stopWatch.abort();
  }

  /** Lets the controllers work until nothing changes any more; a killed operator is replaced. */
  async settle(): Promise<void> {
    for (let quiet = 0, rounds = 0; quiet < 6; rounds++) {
      if (rounds > maxRounds) throw new Error(`the controllers find no rest: ${JSON.stringify(this.writes.slice(-4))}`);
      await setImmediate();
      if (this.#dead) {
        this.#dead = false;
        this.#kill = undefined;
        await this.#manager?.stop();
        await this.onKill();
        await this.start();
      }
      const { resourceVersion } = this.kube.snapshot();
      const still = this.#manager!.idle && resourceVersion === this.#lastVersion;
      this.#lastVersion = resourceVersion;
      quiet = still ? quiet + 1 : 0;
    }
  }

  /** `count` times: the controllers work, then every pod makes one step, then a second passes. */
  async tick(count = 1): Promise<void> {
    for (let done = 0; done < count; done++) {
      await this.settle();
      for (const pod of (await this.kube.list(Pod)).items) await this.#step(pod);
      await this.settle();
      this.clock.advance(1000);
    }
    await this.settle();
  }

  async #step(pod: Pod): Promise<void> {
    const key = keyOf(pod);
    if (pod.metadata.deletionTimestamp !== undefined) {
      if (this.hangs(pod)) return;
      await this.kube.delete(Pod, key, { gracePeriodSeconds: 0 });
      return;
    }
    if (isPodFinished(pod)) return;
    const name = pod.spec.containers[0]!.name;
    if (pod.spec.nodeName === undefined) {
      await this.kube.update(Pod, { ...pod, spec: { ...pod.spec, nodeName: 'node-1' } });
      const ready = this.answers(pod);
      await this.kube.patchStatus(Pod, key, {
        phase: 'Running',
        conditions: [{ type: 'Ready', status: ready ? 'True' : 'False' }],
        containerStatuses: [{ name, ready, restartCount: 0, state: { running: {} } }],
      });
      return;
    }
    const fate = this.fate(pod);
    if (!fate) return;
    const { exitCode, words } = fate;
    const finishedAt = isoTime(this.clock.now());
    const terminated = { exitCode, finishedAt, ...(words ? { message: JSON.stringify(words) } : {}) };
    const restarts = pod.spec.restartPolicy === 'Always';
    const restartCount = (pod.status?.containerStatuses?.[0]?.restartCount ?? 0) + (restarts ? 1 : 0);
    await this.kube.patchStatus(Pod, key, {
      phase: restarts ? 'Running' : exitCode === 0 ? 'Succeeded' : 'Failed',
      conditions: [{ type: 'Ready', status: 'False' }],
      containerStatuses: [
        restarts
          ? { name, ready: false, restartCount, state: { waiting: { reason: 'CrashLoopBackOff' } }, lastState: { terminated } }
          : { name, ready: false, restartCount, state: { terminated } },
      ],
    });
  }

  async #countPods(): Promise<void> {
    for await (const event of this.kube.watch(Pod, { signal: this.#stopWatch.signal })) {
      if (event.type === 'ADDED') this.podsMade.push(event.object.metadata.name);
    }
  }
}
