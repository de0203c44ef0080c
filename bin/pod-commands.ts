// What the processes of pods are started as: entry points without options, which say in their own way why they end.

export const podCommands: ReadonlyMap<string, () => Promise<unknown>> = new Map([
  ['agent', async () => await (await import('#runtime/agent/main.ts')).main()],
  ['rank', async () => await (await import('#runtime/train/main.ts')).main()],
  ['engine', async () => await (await import('#runtime/serve/main.ts')).main()],
]);
