// The certificates of a cluster: an authority of its own, servers and clients signed by it, made anew for every start.
import { generateKeyPairSync } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { capture } from './command.ts';

export interface KeyPair {
  readonly cert: string;
  readonly key: string;
}

export class Authority {
  readonly folder: string;
  readonly ca: KeyPair;

  private constructor(folder: string, name: string) {
    this.folder = folder;
    this.ca = pathsOf(folder, name);
  }

  static async create(folder: string, name: string): Promise<Authority> {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    // Without the machine's own configuration, so that its defaults don't come in.
    writeFileSync(join(folder, 'openssl.cnf'), '[req]\ndistinguished_name = dn\n[dn]\n');
    const authority = new Authority(folder, name);
    await request(folder, authority.ca, `/CN=${name}`, [
      'basicConstraints=critical,CA:TRUE',
      'keyUsage=critical,keyCertSign,cRLSign',
    ]);
    return authority;
  }

  /** A server's certificate for `names`: DNS names, or addresses as `IP:127.0.0.1`. */
  server(file: string, commonName: string, names: readonly string[]): Promise<KeyPair> {
    const all = names.map((name) => (name.startsWith('IP:') ? name : `DNS:${name}`));
    return this.#issue(file, `/CN=${commonName}`, 'serverAuth', [`subjectAltName=${all.join(',')}`]);
  }

  /** A client's certificate: Kubernetes takes the user from CN and the group from O. */
  client(file: string, user: string, userGroup?: string): Promise<KeyPair> {
    return this.#issue(file, `${userGroup ? `/O=${userGroup}` : ''}/CN=${user}`, 'clientAuth', []);
  }

  async #issue(file: string, subject: string, usage: string, extensions: readonly string[]): Promise<KeyPair> {
    const pair = pathsOf(this.folder, file);
    const all = [
      'basicConstraints=critical,CA:FALSE',
      'keyUsage=critical,digitalSignature',
      `extendedKeyUsage=${usage}`,
      ...extensions,
    ];
    await request(this.folder, pair, subject, all, ['-CA', this.ca.cert, '-CAkey', this.ca.key]);
    return pair;
  }
}

/** The pair that signs and checks the tokens of service accounts. */
export function serviceAccountKeys(folder: string): { readonly privateKey: string; readonly publicKey: string } {
  const keys = generateKeyPairSync('rsa', {
    modulusLength: 2048,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs1', format: 'pem' },
  });
  const paths = { privateKey: join(folder, 'service-account.key'), publicKey: join(folder, 'service-account.pub') };
  writeFileSync(paths.privateKey, keys.privateKey, { mode: 0o600 });
  writeFileSync(paths.publicKey, keys.publicKey);
  return paths;
}

const pathsOf = (folder: string, name: string): KeyPair => ({
  cert: join(folder, `${name}.crt`),
  key: join(folder, `${name}.key`),
});

async function request(
  folder: string,
  { cert, key }: KeyPair,
  subject: string,
  extensions: readonly string[],
  signer: readonly string[] = [],
): Promise<void> {
  const made = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '30', '-keyout', key, '-out', cert];
  const added = extensions.flatMap((extension) => ['-addext', extension]);
  await capture('openssl', [
    'req',
    '-x509',
    '-config',
    join(folder, 'openssl.cnf'),
    '-subj',
    subject,
    ...made,
    ...added,
    ...signer,
  ]);
}
