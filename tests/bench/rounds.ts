// The steps of one side of a comparison, in rounds that take turns with those of the others.
import type { Trainee } from './trainee.ts';

export class Rounds {
  /** Seconds per step of each round. */
  readonly seconds: number[] = [];
  readonly cpuSeconds: number[] = [];
  readonly losses: number[] = [];
  readonly #side: Trainee;

  constructor(side: Trainee) {
    this.#side = side;
  }

  async warmUp(steps: number): Promise<void> {
    for (let step = 0; step < steps; step += 1) this.losses.push((await this.#side.step()).loss);
  }

  async run(steps: number): Promise<void> {
    let [total, cpuTotal] = [0, 0];
    for (let step = 0; step < steps; step += 1) {
      const { loss, seconds, cpuSeconds } = await this.#side.step();
      total += seconds;
      cpuTotal += cpuSeconds;
      this.losses.push(loss);
    }
    this.seconds.push(total / steps);
    this.cpuSeconds.push(cpuTotal / steps);
  }
}
