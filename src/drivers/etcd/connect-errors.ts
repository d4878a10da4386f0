/** Why a connection failed, in words that say what to check; above all with TLS, whose own are terse. */

/** What a code of Node or OpenSSL means to whoever configures the client. */
const MEANINGS: readonly (readonly [codes: RegExp, meaning: string])[] = [
  [
    /^(UNABLE_TO_VERIFY_LEAF_SIGNATURE|UNABLE_TO_GET_ISSUER_CERT|SELF_SIGNED_CERT_IN_CHAIN|DEPTH_ZERO_SELF_SIGNED_CERT|CERT_SIGNATURE_FAILURE)/,
    "the server's certificate is of an authority that is not trusted: check tls.ca",
  ],
  [
    /^ERR_TLS_CERT_ALTNAME_INVALID$/,
    "the server's certificate is for another name: check the endpoint, or tls.serverName",
  ],
  [/^CERT_HAS_EXPIRED$/, "the server's certificate has expired"],
  [/^CERT_NOT_YET_VALID$/, "the server's certificate is not valid yet: check the clocks"],
  [
    /^ERR_SSL_.*ALERT_(CERTIFICATE_REQUIRED|BAD_CERTIFICATE|UNKNOWN_CA|CERTIFICATE_UNKNOWN|HANDSHAKE_FAILURE)$/,
    'the server refused the client certificate, or misses one: check tls.cert and tls.key',
  ],
  [/^ERR_SSL_(WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG)$/, 'the server speaks no TLS: http://'],
];

/** What went wrong, in words. */
export function reasonOf(error: Error | undefined): string {
  if (error === undefined) return 'no answer yet';
  // Node hides the reasons of several addresses of one name in `errors`, OpenSSL's in `reason`.
  const inner: unknown = error instanceof AggregateError ? error.errors[0] : error;
  if (!(inner instanceof Error)) return String(inner);
  const words =
    'reason' in inner && typeof inner.reason === 'string' ? inner.reason : inner.message;
  const code = 'code' in inner ? String(inner.code) : '';
  const meaning = MEANINGS.find(([codes]) => codes.test(code))?.[1];
  return meaning === undefined ? words : `${meaning} (${words})`;
}

/** The reason of a connection that the server closed before it said anything. */
export function closedEarly(isSecure: boolean): Error {
  const guess = isSecure
    ? 'it may refuse the client certificate, or miss one (tls.cert, tls.key)'
    : 'it may speak TLS only (https://), or no HTTP/2';
  return new Error(`the server closed the connection before it spoke HTTP/2: ${guess}`);
}
