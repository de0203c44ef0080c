// A plan for programs.
import type { JobPlan } from '#runtime/parallel/plan/plan.ts';

/** Bytes are numbers; `bubble` is a share of the step. */
export function planJson(
  plans: readonly { readonly name: string; readonly plan: JobPlan; readonly warnings: readonly string[] }[],
): string {
  const jobs = plans.map(({ name, plan, warnings }) => {
    const { world, parallelism, batch, grainsPerRank, tokensPerGrain, bubble, ranks } = plan;
    return { name, world, parallelism, batch, grainsPerRank, tokensPerGrain, bubble, ranks, warnings };
  });
  return `${JSON.stringify({ jobs }, null, 2)}\n`;
}
