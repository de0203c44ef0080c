// A plan for programs.
import type { JobPlan } from '#runtime/parallel/plan/plan.ts';
import type { Balance } from './balance.ts';

/** Bytes are numbers; `bubble` is a share of the step. `measured`: what a trace of the one job says. */
export function planJson(
  plans: readonly { readonly name: string; readonly plan: JobPlan; readonly warnings: readonly string[] }[],
  measured?: Balance,
): string {
  const jobs = plans.map(({ name, plan, warnings }) => {
    const { world, parallelism, batch, grainsPerRank, tokensPerGrain, bubble, ranks } = plan;
    return { name, world, parallelism, batch, grainsPerRank, tokensPerGrain, bubble, ranks, warnings };
  });
  return `${JSON.stringify({ jobs, measured }, null, 2)}\n`;
}
