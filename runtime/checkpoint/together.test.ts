import { expect, it } from 'vitest';
import { localExchanges } from './testing.ts';
import { together } from './together.ts';

it('a rank that is busy for long says so, so that nobody takes it for lost', async () => {
  const [first, second] = localExchanges(2);
  const heardTwice = Promise.withResolvers<void>();
  let heard = 0;
  const counting = {
    ...second!,
    allGather: async (text: string) => {
      const texts = await second!.allGather(text);
      heard += 1;
      if (heard === 2) heardTwice.resolve();
      return texts;
    },
  };
  const work = async () => {
    await heardTwice.promise;
    return 'done';
  };
  expect(await Promise.all([together(first!, work), together(counting, async () => 'at once')])).toEqual([
    ['done', 'at once'],
    ['done', 'at once'],
  ]);
});

it('all learn what the lowest rank that failed met with', async () => {
  const failures = await Promise.allSettled(
    localExchanges(3).map((exchange) =>
      together(exchange, async () => {
        if (exchange.rank > 0) throw Object.assign(new Error(`no disk at ${exchange.rank}`), { code: 'EIO' });
        return '';
      }),
    ),
  );
  const reason = expect.objectContaining({ code: 'WL_IO', message: 'rank 1: no disk at 1', details: { rank: 1 } });
  const failure = { status: 'rejected', reason };
  expect(failures).toEqual([failure, failure, failure]);
});
