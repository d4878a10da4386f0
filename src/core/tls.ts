/** Certificates in options. What cannot be one is said at once: later it would look like a server out of reach. */
import { X509Certificate } from 'node:crypto';
import { createSecureContext } from 'node:tls';
import { invalid } from './errors.ts';

/** Certificates and a key, in PEM. */
export interface Certificates {
  readonly ca?: string | Buffer;
  readonly cert?: string | Buffer;
  readonly key?: string | Buffer;
}

/** @throws ERR_INVALID_ARGUMENT for what is no certificate, and for one of `cert` and `key` without the other */
export function requireCertificates({ ca, cert, key }: Certificates): void {
  if ((cert === undefined) !== (key === undefined)) {
    throw invalid('tls: cert and key belong together; one of them is missing');
  }
  try {
    if (ca !== undefined) new X509Certificate(ca);
  } catch (cause) {
    throw invalid('tls.ca: is no certificate in PEM (give its content, not a file name)', cause);
  }
  try {
    createSecureContext({ ...(cert === undefined ? {} : { cert }), ...(key && { key }) });
  } catch (cause) {
    const why = (cause as Error).message;
    throw invalid(`tls.cert and tls.key: are no certificate in PEM with its key: ${why}`, cause);
  }
}
