// The rendezvous itself: makes worlds of the agents that are there, breaks them when a rank fails, and ends the job. Knows no network.
import type { FaultRule } from '#crds/v1alpha1/index.ts';
import { ExitCode } from '#runtime/api/exit-codes.ts';
import type { FaultReport } from '#runtime/api/messages.ts';
import type { Failure, FromAgent, ToAgent } from '#runtime/api/rendezvous.ts';
import { medianOf } from '#runtime/api/step-times.ts';
import { restartDelay } from '../restart.ts';
import { exitCodeOf, isFault, isFirstHand } from './fault.ts';
import { findHang, findStraggler, hangLimits } from './health.ts';
import type { Hang } from './health.ts';
import { casualtyOf, forgiveSilence, hasEnded, hasProgressed, hearBeat, newestStep, newSeat } from './seats.ts';
import type { Seat } from './seats.ts';
import { judgeFault } from './verdict.ts';
import type { Verdict } from './verdict.ts';
import { chooseWorld, largestWorld } from './world-size.ts';
import type { WorldRule } from './world-size.ts';

export interface CoordinatorOptions {
  readonly rule: WorldRule;
  readonly maxRestarts: number;
  /** What the job wants to be done about faults. */
  readonly rules?: readonly FaultRule[];
  /** How long a pod of an elastic job must be away, or back, before the world changes its size. */
  readonly windowMs: number;
  readonly hangTimeoutMs?: number | undefined;
  /** Milliseconds from any fixed point. */
  readonly now: () => number;
  /** Time of day in ISO 8601. */
  readonly time: () => string;
  readonly log: (fields: object, message: string) => void;
}

/** An agent that has joined. */
export interface Member {
  readonly index: number;
  readonly pod: string;
  /** Epoch of its newest rank process; -1: none. */
  readonly epoch: number;
  readonly send: (said: ToAgent) => void;
}

/** What an agent does with its place after it has joined. */
export interface Place {
  hear(said: FromAgent): void;
  leave(): void;
}

type Joined = Member & { readonly joinedAt: number; leaving: boolean };
type After = 'end' | 'resize';
type Stage =
  | { readonly at: 'gathering'; readonly since: number; readonly notBefore: number; isTold?: boolean }
  /** Ranks prepare and open their communicators. */
  | { readonly at: 'starting' }
  | { readonly at: 'running' }
  /** Ranks are asked for the step that they can all stop after. */
  | { readonly at: 'halting'; readonly since: number; readonly after: After }
  | { readonly at: 'stopping'; readonly since: number; readonly after: After; readonly step: number }
  /** The world is broken: the first cause is looked for, then all are killed. */
  | { readonly at: 'breaking'; readonly since: number; readonly hang?: Hang | undefined; killed: boolean }
  | { readonly at: 'over'; readonly end: (index: number) => Extract<ToAgent, { case: 'end' }> };

/** An agent may be out of reach for this long before its rank counts as lost. */
const awayMs = 3_000;
/** The pods of a new elastic job get this long to come up together. */
const firstWindowMs = 60_000;
/** A rank that only lost a peer is a consequence; the cause may be told a moment later. */
const causeMs = 500;
const killMs = 5_000;
const haltMs = 10_000;
const saveMs = 1_800_000;
/** Pods may take their time to be scheduled; that they are missing is said once. */
const tellMissingMs = 15_000;
/** Longest wait in a collective. Longer than what the hang timeout allows: a communicator alone can't tell a pause from a hang. */
const collectiveDeadlineMs = 3_600_000;
/** A tick that comes later than this was held up itself. */
const longestTickMs = 2_000;

export class Coordinator {
  readonly #options: CoordinatorOptions;
  readonly #members = new Map<number, Joined>();
  #stage: Stage;
  #seats: Seat[] = [];
  /** Of the present world, or the last one. */
  #epoch = -1;
  /** Highest epoch that any agent has seen: a rendezvous that moved goes on from there. */
  #newestEpoch = -1;
  #worlds = 0;
  #restarts = 0;
  #faultsInARow = 0;
  #endings = 0;
  #stepMs: number | undefined;
  #fault: FaultReport | undefined;
  #lastTick: number;

  constructor(options: CoordinatorOptions) {
    this.#options = options;
    this.#lastTick = options.now();
    this.#stage = { at: 'gathering', since: this.#lastTick, notBefore: this.#lastTick };
  }

  get restarts(): number {
    return this.#restarts;
  }

  /** Between a fault and the next world. */
  get isRestarting(): boolean {
    return this.#restarts > 0 && this.#stage.at === 'gathering';
  }

  /** What a report says of the world. */
  get view(): {
    epoch: number;
    seats: readonly Seat[];
    standby: string[];
    fault?: FaultReport | undefined;
    straggler?: string | undefined;
  } {
    const standby = [...this.#members.values()].filter(({ index }) => !this.#seats.some((seat) => seat.index === index));
    return {
      epoch: Math.max(0, this.#epoch),
      seats: this.#seats,
      standby: this.#seats.length === 0 ? [] : standby.map(({ pod }) => pod),
      fault: this.#fault,
      straggler: this.#stage.at === 'running' ? findStraggler(this.#seats) : undefined,
    };
  }

  /** An agent is there, for the first time or again. It repeats what its rank has said since. */
  join(member: Member): Place {
    const joined = { ...member, joinedAt: this.#now(), leaving: false };
    this.#members.set(member.index, joined);
    this.#welcome(joined);
    this.tick();
    return {
      hear: (said) => {
        if (this.#members.get(member.index) === joined) this.#hear(joined, said);
        this.tick();
      },
      leave: () => {
        if (this.#members.get(member.index) !== joined) return;
        this.#members.delete(member.index);
        const seat = this.#seatOf(member.index);
        if (seat) seat.awaySince = this.#now();
        this.tick();
      },
    };
  }

  /** Does what has become due. Call it a few times a second. */
  tick(): void {
    const now = this.#now();
    const pauseMs = now - this.#lastTick;
    this.#lastTick = now;
    if (pauseMs > longestTickMs) forgiveSilence(this.#seats, pauseMs);
    const stage = this.#stage;
    switch (stage.at) {
      case 'gathering':
        return this.#gather(stage, now);
      case 'starting':
      case 'running':
        return this.#watch(now);
      case 'halting':
        return this.#agreeOnStop(stage, now);
      case 'stopping':
        return this.#awaitStop(stage, now);
      case 'breaking':
        return this.#findCause(stage, now);
      case 'over':
    }
  }

  #welcome(member: Joined): void {
    const seat = this.#seatOf(member.index);
    const { epoch, send } = member;
    this.#newestEpoch = Math.max(this.#newestEpoch, epoch);
    if (this.#stage.at === 'over') return send(this.#stage.end(member.index));
    if (!seat || hasEnded(seat)) return epoch < 0 ? undefined : send({ case: 'kill', value: { epoch } });
    const untouched = this.#stage.at === 'starting' && !seat.endpoint && !seat.heartbeat;
    if (epoch === this.#epoch) {
      seat.awaySince = undefined;
      this.#repeat(seat, member);
    } else if (untouched && seat.pod === member.pod) {
      seat.awaySince = undefined;
      send({ case: 'start', value: { epoch: this.#epoch, restarts: this.#restarts } });
    } else this.#lose(seat);
  }

  /** Says again what an agent may have missed while it was out of reach. */
  #repeat(seat: Seat, { send }: Joined): void {
    const epoch = this.#epoch;
    const { at } = this.#stage;
    if (at === 'running') send(this.#worldFor(seat));
    if (at === 'halting') send({ case: 'halt', value: { epoch } });
    if (at === 'stopping') send({ case: 'stop', value: { epoch, step: this.#stage.step } });
    if (at === 'breaking') send({ case: 'kill', value: { epoch } });
  }

  #hear(member: Joined, said: FromAgent): void {
    if (said.case === 'leaving') {
      member.leaving = true;
      return;
    }
    const seat = this.#seatOf(member.index);
    // What belongs to an older world is late.
    if (!seat || said.case === 'hello' || said.case === 'join' || said.value.epoch !== this.#epoch) return;
    if (said.case === 'endpoint') {
      seat.endpoint = said.value.endpoint;
      if (this.#stage.at === 'starting' && this.#seats.every(({ endpoint }) => endpoint !== undefined)) this.#formed();
    } else if (said.case === 'beat') {
      hearBeat(seat, said.value.heartbeat, this.#now());
    } else if (said.case === 'halted') {
      seat.halted = said.value.step;
    } else if (!hasEnded(seat)) {
      seat.ending = said.value;
      seat.order = ++this.#endings;
    }
  }

  #gather(stage: Extract<Stage, { at: 'gathering' }>, now: number): void {
    const { rule, windowMs } = this.#options;
    const present = [...this.#members.values()].filter(({ leaving }) => !leaving);
    const leavers = [...this.#members.values()].filter(({ leaving }) => leaving);
    if (leavers.length > 0) {
      if (!this.#canGoOnWith(present.length)) return this.#end(() => this.#endOf(ExitCode.preempted));
      for (const leaver of leavers) this.#dismiss(leaver);
    }
    if (now < stage.notBefore) return;
    const waitedMs = now - stage.since;
    const window = this.#worlds === 0 ? Math.max(firstWindowMs, windowMs) : windowMs;
    const chosen = chooseWorld(
      rule,
      present.map(({ index }) => index),
      waitedMs,
      window,
    );
    if (chosen) this.#form(chosen, now);
    else if (waitedMs > tellMissingMs) this.#tellMissing(stage);
  }

  #form(chosen: readonly number[], now: number): void {
    this.#newestEpoch += 1;
    this.#epoch = this.#newestEpoch;
    this.#worlds += 1;
    this.#seats = chosen.map((index, rank) => newSeat(rank, this.#members.get(index)!, now));
    this.#stage = { at: 'starting' };
    this.#options.log({ epoch: this.#epoch, worldSize: chosen.length, pods: this.#seats.map(({ pod }) => pod) }, 'ranks start');
    this.#tellAll({ case: 'start', value: { epoch: this.#epoch, restarts: this.#restarts } });
  }

  #formed(): void {
    this.#stage = { at: 'running' };
    this.#options.log({ epoch: this.#epoch, worldSize: this.#seats.length }, 'all ranks are there');
    for (const seat of this.#seats) this.#members.get(seat.index)?.send(this.#worldFor(seat));
  }

  #worldFor({ rank }: Seat): ToAgent {
    const endpoints = this.#seats.map(({ endpoint }) => endpoint ?? '');
    return { case: 'world', value: { epoch: this.#epoch, rank, endpoints, deadlineMs: collectiveDeadlineMs } };
  }

  #watch(now: number): void {
    if (this.#settleEndings(now)) return;
    const members = [...this.#members.values()];
    if (members.some(({ leaving }) => leaving)) {
      // Ranks that have not met have nothing to save, and could not agree.
      if (this.#stage.at === 'starting' && this.#seats.length > 1) return this.#dissolve(now);
      const staying = members.filter(({ leaving }) => !leaving).length;
      return this.#halt(this.#canGoOnWith(staying) ? 'resize' : 'end', now);
    }
    const beating = this.#seats.filter(({ heartbeat }) => heartbeat !== undefined);
    const times = beating.flatMap(({ heartbeat }) => heartbeat?.stepMs ?? []);
    if (times.length > 0) this.#stepMs = medianOf(times);
    // A rank alone may come without heartbeats; then nothing is known of it.
    const live = this.#seats.length === 1 ? beating : this.#seats;
    const hang =
      live.length > 0 &&
      findHang(
        live.filter((seat) => !hasEnded(seat)),
        now,
        hangLimits(this.#options.hangTimeoutMs, this.#stepMs),
      );
    if (hang) return this.#break(now, hang);
    if (this.#couldGrow(members, now)) this.#halt('resize', now);
  }

  /** Deals with ranks that ended or whose agents are out of reach. Returns whether the world is no longer what it was. */
  #settleEndings(now: number): boolean {
    this.#loseAway(now, awayMs);
    const ended = this.#seats.filter(hasEnded);
    if (ended.length === 0) return false;
    const codes = ended.map(({ ending }) => (ending === 'lost' || !ending ? ExitCode.rankLost : exitCodeOf(ending)));
    const all = ended.length === this.#seats.length;
    if (all && codes.every((code) => code === ExitCode.done)) this.#end(() => this.#endOf(ExitCode.done));
    else if (all && codes.every((code) => code === ExitCode.done || code === ExitCode.preempted))
      this.#end(() => this.#endOf(ExitCode.preempted));
    else if (codes.some((code) => code !== ExitCode.done)) this.#break(now);
    else return false;
    return true;
  }

  #couldGrow(members: readonly Joined[], now: number): boolean {
    const { rule, windowMs } = this.#options;
    if (this.#stage.at !== 'running' || this.#seats.length >= (largestWorld(rule, members.length) ?? 0)) return false;
    if (!this.#seats.every(({ heartbeat, ending }) => heartbeat?.phase === 'stepping' && ending === undefined)) return false;
    return members.every(({ joinedAt }) => now - joinedAt >= windowMs);
  }

  /** All ranks save after the same step and end. A rank alone need not be asked for it. */
  #halt(after: After, now: number): void {
    this.#options.log({ epoch: this.#epoch, after }, 'the ranks are asked to save and end');
    this.#stage = { at: 'halting', since: now, after };
    if (this.#seats.length > 1) return this.#tellAll({ case: 'halt', value: { epoch: this.#epoch } });
    for (const seat of this.#seats) seat.halted = newestStep(this.#seats);
    this.tick();
  }

  #agreeOnStop(stage: Extract<Stage, { at: 'halting' }>, now: number): void {
    if (this.#hasBroken(now)) return this.#break(now);
    const mute = this.#seats.find(({ halted, ending }) => halted === undefined && ending === undefined);
    if (mute && now - stage.since <= haltMs) return;
    if (mute) {
      const message = `rank ${mute.rank} (pod ${mute.pod}) did not answer within ${haltMs / 1000} s when it was asked to stop`;
      return this.#break(now, { rank: mute.rank, message });
    }
    const step = Math.max(...this.#seats.map(({ halted = -1 }) => halted));
    this.#stage = { at: 'stopping', since: now, after: stage.after, step };
    this.#tellAll({ case: 'stop', value: { epoch: this.#epoch, step } });
  }

  #awaitStop(stage: Extract<Stage, { at: 'stopping' }>, now: number): void {
    if (this.#hasBroken(now)) return this.#break(now);
    const unsaved = this.#seats.find((seat) => !hasEnded(seat));
    if (unsaved && now - stage.since <= saveMs) return;
    if (unsaved) {
      const message = `rank ${unsaved.rank} (pod ${unsaved.pod}) did not save and end within ${saveMs / 1000} s`;
      return this.#break(now, { rank: unsaved.rank, message });
    }
    if (stage.after === 'end' || this.#seats.every(({ ending }) => ending !== 'lost' && ending?.exitCode === ExitCode.done)) {
      this.#settleEndings(now);
      return;
    }
    this.#dissolve(now);
  }

  #dissolve(now: number): void {
    this.#tellAll({ case: 'kill', value: { epoch: this.#epoch } });
    this.#seats = [];
    this.#stage = { at: 'gathering', since: now, notBefore: now };
    this.tick();
  }

  /** Whether a rank failed, or its agent has been out of reach for too long. */
  #hasBroken(now: number): boolean {
    this.#loseAway(now, awayMs);
    return this.#seats.some(({ ending }) => ending === 'lost' || (ending !== undefined && isFault(ending)));
  }

  #loseAway(now: number, limitMs: number): void {
    for (const seat of this.#seats) if (seat.awaySince !== undefined && now - seat.awaySince > limitMs) this.#lose(seat);
  }

  #lose(seat: Seat): void {
    if (hasEnded(seat)) return;
    seat.ending = 'lost';
    seat.order = ++this.#endings;
  }

  #break(now: number, hang?: Hang): void {
    this.#stage = { at: 'breaking', since: now, hang, killed: false };
    this.tick();
  }

  #findCause(stage: Extract<Stage, { at: 'breaking' }>, now: number): void {
    this.#loseAway(now, stage.killed ? 0 : causeMs);
    const known = stage.hang !== undefined || this.#seats.some(({ ending }) => ending !== undefined && isFirstHand(ending));
    if (!stage.killed && (known || now - stage.since > causeMs)) {
      stage.killed = true;
      this.#tellAll({ case: 'kill', value: { epoch: this.#epoch } });
    }
    if (!stage.killed || (!this.#seats.every(hasEnded) && now - stage.since <= killMs)) return;
    for (const seat of this.#seats) this.#lose(seat);
    this.#conclude(stage.hang, now);
  }

  /** Starts again, or gives up in the name of the first cause. */
  #conclude(hang: Hang | undefined, now: number): void {
    const { maxRestarts, rules = [], time, log } = this.#options;
    const seen = { epoch: this.#epoch, restarts: this.#restarts, maxRestarts, rules };
    const verdict = judgeFault(this.#seats.map(casualtyOf), hang, seen);
    this.#fault = { ...verdict.fault, time: time() };
    log(this.#fault, this.#fault.message);
    if (verdict.action === 'end') return this.#endInFault(verdict);
    if (verdict.action === 'replace' && this.#endPod(verdict)) {
      this.#seats = [];
      this.#stage = { at: 'gathering', since: now, notBefore: now };
      return;
    }
    if (hasProgressed(this.#seats)) this.#faultsInARow = 0;
    const delayMs = restartDelay(this.#faultsInARow);
    this.#faultsInARow += 1;
    if (verdict.charged) this.#restarts += 1;
    this.#seats = [];
    this.#stage = { at: 'gathering', since: now, notBefore: now + delayMs };
  }

  /** The pod of the cause says it; pod 0 does for one that is gone. The others only follow. */
  #endInFault({ fault, exitCode, words, followWords }: Verdict): void {
    const seat = this.#seats.find(({ rank }) => rank === fault.rank);
    const isThere = seat !== undefined && this.#members.has(seat.index);
    const speaker = isThere ? seat.index : 0;
    const said = isThere ? words : { ...followWords, message: fault.message };
    this.#end((index) =>
      index === speaker ? this.#endOf(exitCode, said, fault.rule) : this.#endOf(ExitCode.follow, followWords),
    );
  }

  /** Ends the pod of the cause alone: the operator counts it, and makes another one that joins. Returns false if it is out of reach. */
  #endPod({ fault, exitCode, words }: Verdict): boolean {
    const seat = this.#seats.find(({ rank }) => rank === fault.rank);
    const member = seat && this.#members.get(seat.index);
    if (!member) return false;
    this.#members.delete(member.index);
    member.send(this.#endOf(exitCode, words, fault.rule));
    return true;
  }

  #tellMissing(stage: Extract<Stage, { at: 'gathering' }>): void {
    if (stage.isTold) return;
    stage.isTold = true;
    const missing = Array.from({ length: this.#options.rule.pods }, (_, index) => index).filter(
      (index) => !this.#members.has(index),
    );
    this.#options.log({ missing }, `waiting for the pods of index ${missing.join(', ')}`);
  }

  #end(end: (index: number) => Extract<ToAgent, { case: 'end' }>): void {
    this.#stage = { at: 'over', end };
    for (const { index, send } of this.#members.values()) send(end(index));
  }

  #endOf(exitCode: number, words?: Failure, rule?: string): Extract<ToAgent, { case: 'end' }> {
    const said = { ...(words ? { words } : {}), ...(rule === undefined ? {} : { rule }) };
    return { case: 'end', value: { exitCode, restarts: this.#restarts, ...said } };
  }

  #dismiss(leaver: Joined): void {
    leaver.send(this.#endOf(ExitCode.preempted));
    this.#members.delete(leaver.index);
  }

  #canGoOnWith(present: number): boolean {
    const { rule } = this.#options;
    return rule.min < rule.pods && largestWorld(rule, present) !== undefined;
  }

  #tellAll(said: ToAgent): void {
    for (const seat of this.#seats) if (!hasEnded(seat)) this.#members.get(seat.index)?.send(said);
  }

  #seatOf(index: number): Seat | undefined {
    return this.#seats.find((seat) => seat.index === index);
  }

  #now(): number {
    return this.#options.now();
  }
}
