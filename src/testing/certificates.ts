/**
 * Certificates for tests, made on the spot so that no private key lies in the repository: X.509 v3
 * (RFC 5280) in DER, signed with ECDSA on P-256. Valid from 2020 to 2049. Not for production.
 */
import { createHash, generateKeyPairSync, type KeyObject, sign } from 'node:crypto';

/** A key and its certificate as PEM texts. */
export interface TestCertificate {
  readonly cert: string;
  readonly key: string;
}

/** Signs certificates. */
export interface TestAuthority extends TestCertificate {
  /** A certificate for 127.0.0.1 and localhost, for servers and clients alike. */
  issue(commonName: string): TestCertificate;
}

const OID = {
  ecdsaWithSha256: [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02],
  commonName: [0x55, 0x04, 0x03],
  basicConstraints: [0x55, 0x1d, 0x13],
  subjectAltName: [0x55, 0x1d, 0x11],
} as const;

const SEQUENCE = 0x30;
const SET = 0x31;
const ALGORITHM = der(SEQUENCE, oid(OID.ecdsaWithSha256));
const VALIDITY = der(SEQUENCE, utcTime('200101000000Z'), utcTime('491231235959Z'));

/** A new authority with a certificate of its own. */
export function testAuthority(commonName = 'test authority'): TestAuthority {
  const keys = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const isAuthority = der(SEQUENCE, der(0x01, Buffer.of(0xff)));
  const cert = certificate(
    { issuer: commonName, subject: commonName, subjectKey: keys.publicKey },
    keys.privateKey,
    extension(OID.basicConstraints, isAuthority),
  );
  return {
    cert,
    key: privatePem(keys.privateKey),
    issue(subject) {
      const own = generateKeyPairSync('ec', { namedCurve: 'P-256' });
      const names = der(
        SEQUENCE,
        der(0x87, Buffer.of(127, 0, 0, 1)),
        der(0x82, Buffer.from('localhost')),
      );
      const issued = certificate(
        { issuer: commonName, subject, subjectKey: own.publicKey },
        keys.privateKey,
        extension(OID.subjectAltName, names),
      );
      return { cert: issued, key: privatePem(own.privateKey) };
    },
  };
}

function certificate(
  who: { readonly issuer: string; readonly subject: string; readonly subjectKey: KeyObject },
  signer: KeyObject,
  extensions: Buffer,
): string {
  const publicKey = who.subjectKey.export({ type: 'spki', format: 'der' });
  const serial = createHash('sha256').update(publicKey).digest().subarray(0, 8);
  serial[0] = (serial[0]! & 0x3f) | 0x40;
  const signed = der(
    SEQUENCE,
    der(0xa0, der(0x02, Buffer.of(2))),
    der(0x02, serial),
    ALGORITHM,
    name(who.issuer),
    VALIDITY,
    name(who.subject),
    publicKey,
    der(0xa3, der(SEQUENCE, extensions)),
  );
  const signature = Buffer.concat([Buffer.of(0), sign('sha256', signed, signer)]);
  const whole = der(SEQUENCE, signed, ALGORITHM, der(0x03, signature));
  const lines = whole.toString('base64').replace(/.{64}(?=.)/g, '$&\n');
  return `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`;
}

function privatePem(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' }).toString();
}

function extension(id: readonly number[], value: Buffer): Buffer {
  return der(SEQUENCE, oid(id), der(0x04, value));
}

function name(commonName: string): Buffer {
  const attribute = der(SEQUENCE, oid(OID.commonName), der(0x0c, Buffer.from(commonName)));
  return der(SEQUENCE, der(SET, attribute));
}

function oid(bytes: readonly number[]): Buffer {
  return der(0x06, Buffer.from(bytes));
}

function utcTime(text: string): Buffer {
  return der(0x17, Buffer.from(text));
}

/** Tag, length, content. */
function der(tag: number, ...parts: Buffer[]): Buffer {
  const content = Buffer.concat(parts);
  const length = content.length;
  const head =
    length < 0x80
      ? [tag, length]
      : length < 0x100
        ? [tag, 0x81, length]
        : [tag, 0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from(head), content]);
}
