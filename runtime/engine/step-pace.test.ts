import { expect, it } from 'vitest';
import { StepPace } from './step-pace.ts';

it('begins with few rows, and takes what fits into a step of 40 ms', () => {
  const pace = new StepPace();
  expect(pace.rows).toBe(32);
  for (let step = 0; step < 60; step += 1) pace.observe(pace.rows, pace.rows * 0.0001);
  expect(pace.rows).toBeGreaterThanOrEqual(399);
  expect(pace.rows).toBeLessThanOrEqual(400);
});

it('never takes fewer rows than make the reading of the weights worth it, however slow the machine is', () => {
  const pace = new StepPace();
  pace.observe(64, 30);
  expect(pace.rows).toBe(32);
});

it('follows a machine that gets slower or faster within a few steps, and forgives a single slow one', () => {
  const pace = new StepPace();
  for (let step = 0; step < 20; step += 1) pace.observe(200, 0.02);
  pace.observe(200, 0.06);
  expect(pace.rows).toBeGreaterThan(200);
  for (let step = 0; step < 20; step += 1) pace.observe(200, 0.06);
  expect(pace.rows).toBeLessThan(140);
  for (let step = 0; step < 20; step += 1) pace.observe(200, 0.02);
  expect(pace.rows).toBeGreaterThan(390);
});

it('learns nothing from steps of single tokens', () => {
  const pace = new StepPace();
  pace.observe(1, 0.02);
  expect(pace.rows).toBe(32);
});
