// Tells on standard error how far a bench is: standard output is for figures.

export function tellRound(round: number, rounds: number): void {
  console.error(`bench: round ${round + 1} of ${rounds}`);
}

export function tellCase(name: string): void {
  console.error(`bench: ${name}`);
}
