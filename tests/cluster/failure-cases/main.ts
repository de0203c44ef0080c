// Scripted failures of a job, as one table.
import type { Case } from './case.ts';
import { comingUp } from './coming-up.ts';
import { ended } from './ended.ts';
import { refused } from './refused.ts';
import { reported } from './reported.ts';
import { ruled } from './ruled.ts';
import { taken } from './taken.ts';

export const cases: readonly Case[] = [...ended, ...ruled, ...reported, ...comingUp, ...refused, ...taken];
