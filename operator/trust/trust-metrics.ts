// What an operator tells of the certificates of the installation, and of who asks it for credentials.
import { Counter, Gauge } from 'prom-client';
import type { Registry } from 'prom-client';
import { validityOf } from './x509.ts';

/** Of the authority itself, of the credentials service of this operator, of the bundled bus as the leading operator sees it. */
type CertificateName = 'authority' | 'credentials' | 'bus';

export interface TrustMetrics {
  readonly requests: Counter<'code'>;
  /** A certificate (PEM) is in use, and shall be replaced at `renewal` (ms since 1970). */
  valid(certificate: CertificateName, pem: string, renewal: number): void;
}

export function createTrustMetrics(registry: Registry): TrustMetrics {
  const registers = [registry];
  const labelNames = ['certificate'] as const;
  const expiry = new Gauge({
    name: 'windlass_certificate_expiry_timestamp_seconds',
    help: 'When a certificate of the installation expires: of its authority, of the credentials service of this operator, of the bundled bus.',
    labelNames,
    registers,
  });
  const renewal = new Gauge({
    name: 'windlass_certificate_renewal_timestamp_seconds',
    help: 'When that certificate is to be replaced by the next one.',
    labelNames,
    registers,
  });
  const requests = new Counter({
    name: 'windlass_credentials_requests_total',
    help: 'Requests of pods for credentials, by the HTTP status of the answer.',
    labelNames: ['code'] as const,
    registers,
  });
  return {
    requests,
    valid(certificate, pem, renewalMs) {
      expiry.set({ certificate }, validityOf(pem).until / 1000);
      renewal.set({ certificate }, renewalMs / 1000);
    },
  };
}
