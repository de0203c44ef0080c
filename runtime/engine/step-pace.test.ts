import { describe, expect, it } from 'vitest';
import { StepPace } from './step-pace.ts';

describe('StepPace of steps', () => {
  it('begins with few rows, and takes what fits into a step of 30 ms', () => {
    const pace = new StepPace();
    expect(pace.shortRows).toBe(32);
    for (let step = 0; step < 60; step += 1) pace.observe(pace.shortRows, pace.shortRows * 0.0001);
    expect(pace.shortRows).toBeGreaterThanOrEqual(299);
    expect(pace.shortRows).toBeLessThanOrEqual(300);
  });

  it('never takes fewer rows than make the reading of the weights worth it, however slow the machine is', () => {
    const pace = new StepPace();
    pace.observe(64, 30);
    expect(pace.shortRows).toBe(32);
  });

  it('follows a machine that gets slower or faster within a few steps, and forgives a single slow one', () => {
    const pace = new StepPace();
    for (let step = 0; step < 20; step += 1) pace.observe(200, 0.02);
    pace.observe(200, 0.06);
    expect(pace.shortRows).toBeGreaterThan(150);
    for (let step = 0; step < 20; step += 1) pace.observe(200, 0.06);
    expect(pace.shortRows).toBeLessThan(105);
    for (let step = 0; step < 20; step += 1) pace.observe(200, 0.02);
    expect(pace.shortRows).toBeGreaterThan(290);
  });

  it('learns nothing from steps of single tokens', () => {
    const pace = new StepPace();
    pace.observe(1, 0.02);
    expect(pace.shortRows).toBe(32);
  });
});

describe('StepPace of long prompts', () => {
  it('begins with one layer, and takes those that fit into 30 ms', () => {
    const pace = new StepPace();
    expect(pace.layersOf(512)).toBe(1);
    pace.observeSlice(512, 1, 0.009);
    expect(pace.layersOf(512)).toBe(3);
    expect(pace.layersOf(256)).toBe(6);
  });

  it('takes as many rows together as pass one layer in 30 ms, but not too few', () => {
    const pace = new StepPace();
    expect(pace.longRows).toBe(Infinity);
    pace.observeSlice(512, 2, 0.512);
    expect(pace.longRows).toBe(60);
    expect(pace.layersOf(pace.longRows)).toBe(1);
    for (let slice = 0; slice < 20; slice += 1) pace.observeSlice(32, 1, 4);
    expect(pace.longRows).toBe(32);
    expect(pace.layersOf(32)).toBe(1);
  });
});
