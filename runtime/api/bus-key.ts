// The key by which a process proves to the bus that a token is its own.
export interface BusKey {
  /** Public nkey of a user. */
  readonly publicKey: string;
  readonly seed: Uint8Array;
}

export async function newBusKey(): Promise<BusKey> {
  const { nkeys } = await import('nats');
  const user = nkeys.createUser();
  return { publicKey: user.getPublicKey(), seed: user.getSeed() };
}
