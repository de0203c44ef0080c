// Makes X.509 certificates: authorities that sign themselves, one authority vouching for the key of another, and leaves of short life.
import { createPublicKey, randomBytes, X509Certificate } from 'node:crypto';

/** A certificate and what signs in its name, PEM. */
export interface KeyPair {
  readonly certificate: string;
  readonly key: string;
}

export interface Validity {
  /** Milliseconds since 1970. */
  readonly from: number;
  readonly until: number;
}

export interface Leaf extends Validity {
  readonly commonName: string;
  /** What the certificate is for: a SubjectPublicKeyInfo, DER. */
  readonly publicKey: Buffer;
  readonly dnsNames: readonly string[];
  readonly uris: readonly string[];
  readonly usages: readonly ('server' | 'client')[];
}

const oid = {
  commonName: '2.5.4.3',
  subjectKeyIdentifier: '2.5.29.14',
  keyUsage: '2.5.29.15',
  subjectAltName: '2.5.29.17',
  basicConstraints: '2.5.29.19',
  authorityKeyIdentifier: '2.5.29.35',
  extendedKeyUsage: '2.5.29.37',
  server: '1.3.6.1.5.5.7.3.1',
  client: '1.3.6.1.5.5.7.3.2',
} as const;

/** RFC 5280, 4.2.1.3: bits from the left. */
const mayDigitallySign = 0x80;
const maySignCertificates = 0x04 | 0x02;
/** GeneralName of RFC 5280, 4.2.1.6. */
const nameTag = { dns: 2, uri: 6 } as const;

const algorithm = { name: 'ECDSA', namedCurve: 'P-256' };

/** A new key of the curve P-256. */
export async function newKey(): Promise<{ readonly key: string; readonly publicKey: Buffer }> {
  const pair = await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const key = pem('PRIVATE KEY', await crypto.subtle.exportKey('pkcs8', pair.privateKey));
  return { key, publicKey: Buffer.from(await crypto.subtle.exportKey('spki', pair.publicKey)) };
}

/** An authority that nobody but itself vouches for. It may sign leaves only. */
export async function newAuthority(commonName: string, validity: Validity): Promise<KeyPair> {
  const { key, publicKey } = await newKey();
  const certificate = await sign({
    subject: commonName,
    publicKey,
    issuer: { subject: commonName, publicKey, key },
    validity,
    leaf: undefined,
  });
  return { certificate, key };
}

/** The authority `of`, vouched for by `by`: who trusts `by` alone may trust what `of` signs. Valid as long as both are. */
export async function crossSign(of: string, by: KeyPair): Promise<string> {
  const [subject, issuer] = [new X509Certificate(of), new X509Certificate(by.certificate)];
  return await sign({
    subject: commonNameOf(subject),
    publicKey: publicKeyOf(subject),
    issuer: { subject: commonNameOf(issuer), publicKey: publicKeyOf(issuer), key: by.key },
    validity: {
      from: Math.max(validityOf(of).from, validityOf(by.certificate).from),
      until: Math.min(validityOf(of).until, validityOf(by.certificate).until),
    },
    leaf: undefined,
  });
}

/** A leaf, PEM. It never outlives its issuer. */
export async function issue(leaf: Leaf, by: KeyPair): Promise<string> {
  const issuer = new X509Certificate(by.certificate);
  return await sign({
    subject: leaf.commonName,
    publicKey: leaf.publicKey,
    issuer: { subject: commonNameOf(issuer), publicKey: publicKeyOf(issuer), key: by.key },
    validity: { from: leaf.from, until: Math.min(leaf.until, validityOf(by.certificate).until) },
    leaf,
  });
}

export function validityOf(certificate: string): Validity {
  const { validFromDate, validToDate } = new X509Certificate(certificate);
  return { from: validFromDate.getTime(), until: validToDate.getTime() };
}

const publicKeyOf = ({ publicKey }: X509Certificate): Buffer => publicKey.export({ type: 'spki', format: 'der' });

const commonNameOf = ({ subject }: X509Certificate): string => /^CN=(.*)$/m.exec(subject)?.[1] ?? '';

interface Request {
  readonly subject: string;
  readonly publicKey: Buffer;
  readonly issuer: { readonly subject: string; readonly publicKey: Buffer; readonly key: string };
  readonly validity: Validity;
  /** Absent: an authority. */
  readonly leaf: Leaf | undefined;
}

/** Takes 40 ms and 14 MB the first time: the libraries are loaded by whoever signs, not with every command. */
async function sign({ subject, publicKey, issuer, validity, leaf }: Request): Promise<string> {
  const [asn1, pki] = await Promise.all([import('asn1js'), import('pkijs')]);
  const nameOf = (commonName: string) =>
    new pki.RelativeDistinguishedNames({
      typesAndValues: [
        new pki.AttributeTypeAndValue({ type: oid.commonName, value: new asn1.Utf8String({ value: commonName }) }),
      ],
    });
  const extension = (extnID: string, critical: boolean, value: { toBER(): ArrayBuffer }) =>
    new pki.Extension({ extnID, critical, extnValue: value.toBER() });
  const keyUsage = (bits: number) =>
    new asn1.BitString({ valueHex: new Uint8Array([bits]).buffer, unusedBits: bits & 0x02 ? 1 : 7 });
  const identifierOf = async (key: Buffer) =>
    new asn1.OctetString({ valueHex: await crypto.subtle.digest('SHA-256', new Uint8Array(key)) });

  const certificate = new pki.Certificate();
  certificate.version = 2;
  // At most 20 bytes, positive, not 0 (RFC 5280, 4.1.2.2).
  const serial = randomBytes(16);
  serial[0] = (serial[0]! & 0x7f) | 0x40;
  certificate.serialNumber = new asn1.Integer({ valueHex: new Uint8Array(serial).buffer });
  certificate.subject = nameOf(subject);
  certificate.issuer = nameOf(issuer.subject);
  certificate.notBefore.value = new Date(validity.from);
  certificate.notAfter.value = new Date(validity.until);
  const spki = asn1.fromBER(new Uint8Array(publicKey).buffer);
  certificate.subjectPublicKeyInfo = new pki.PublicKeyInfo({ schema: spki.result });
  const issuerId = new pki.AuthorityKeyIdentifier({ keyIdentifier: await identifierOf(issuer.publicKey) });
  certificate.extensions = [
    extension(oid.subjectKeyIdentifier, false, await identifierOf(publicKey)),
    extension(oid.authorityKeyIdentifier, false, issuerId.toSchema()),
  ];
  if (leaf) {
    const names = [
      ...leaf.dnsNames.map((value) => new pki.GeneralName({ type: nameTag.dns, value })),
      ...leaf.uris.map((value) => new pki.GeneralName({ type: nameTag.uri, value })),
    ];
    const usages = leaf.usages.map((usage) => oid[usage]);
    certificate.extensions.push(
      extension(oid.basicConstraints, true, new pki.BasicConstraints({ cA: false }).toSchema()),
      extension(oid.keyUsage, true, keyUsage(mayDigitallySign)),
      extension(oid.extendedKeyUsage, false, new pki.ExtKeyUsage({ keyPurposes: usages }).toSchema()),
      extension(oid.subjectAltName, false, new pki.GeneralNames({ names }).toSchema()),
    );
  } else {
    certificate.extensions.push(
      extension(oid.basicConstraints, true, new pki.BasicConstraints({ cA: true, pathLenConstraint: 1 }).toSchema()),
      extension(oid.keyUsage, true, keyUsage(maySignCertificates)),
    );
  }
  const pkcs8 = Buffer.from(issuer.key.replace(/-----[^-]+-----|\s/g, ''), 'base64');
  const key = await crypto.subtle.importKey('pkcs8', new Uint8Array(pkcs8), algorithm, false, ['sign']);
  await certificate.sign(key, 'SHA-256');
  return pem('CERTIFICATE', certificate.toSchema(true).toBER());
}

/** A SubjectPublicKeyInfo of a key of P-256, DER; undefined if it is none. */
export function readPublicKey(der: Buffer): Buffer | undefined {
  try {
    const key = createPublicKey({ key: der, format: 'der', type: 'spki' });
    if (key.asymmetricKeyType !== 'ec' || key.asymmetricKeyDetails?.namedCurve !== 'prime256v1') return undefined;
    return key.export({ type: 'spki', format: 'der' });
  } catch {
    return undefined;
  }
}

function pem(label: string, der: ArrayBuffer): string {
  const lines =
    Buffer.from(der)
      .toString('base64')
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`;
}
