/** Connects to a peer and exchanges the hello: the side that begins. */
import { connect, isIP, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { QuorateError } from '../../core/errors.ts';
import type { NodeId } from '../types.ts';
import { type Channel, decodeWelcome, encodeHello, PROTOCOL_VERSION } from './codec.ts';
import { Connection } from './connection.ts';
import { FrameKind, OutFrame } from './frame.ts';
import type { TransportContext } from './settings.ts';

/** Where a node listens. */
export interface PeerAddress {
  readonly url: string;
  readonly host: string;
  readonly port: number;
  readonly secure: boolean;
}

/** Parses a peer URL. Throws `ERR_INVALID_ARGUMENT`. */
export function parsePeerUrl(url: string): PeerAddress {
  let parsed: URL;
  try {
    parsed = new URL(url);
  } catch {
    throw invalidUrl(url, 'it is no URL');
  }
  const secure = parsed.protocol === 'https:';
  if (!secure && parsed.protocol !== 'http:') throw invalidUrl(url, 'the scheme is unknown');
  if (parsed.pathname !== '/' || parsed.search !== '') throw invalidUrl(url, 'it has a path');
  // The URL parser drops a port that is the scheme's default one.
  const port = parsed.port === '' ? (secure ? 443 : 80) : Number(parsed.port);
  return { url, host: parsed.hostname.replace(/^\[|\]$/g, ''), port, secure };
}

function invalidUrl(url: string, why: string): QuorateError {
  return new QuorateError(
    'ERR_INVALID_ARGUMENT',
    `peer URL ${JSON.stringify(url)}: ${why}; use http://host:port or https://host:port`,
  );
}

export interface DialEvents {
  /** The peer has accepted us: frames may be sent. */
  onOpen(): void;
  onFrame(content: Buffer, owned: boolean): void;
  /** It broke, or never came about. Called once. */
  onClose(reason: Error): void;
}

/** Connects; everything that happens is told to `events`. */
export function dial(
  context: TransportContext,
  peer: NodeId,
  address: PeerAddress,
  channel: Channel,
  deadAfterMs: number,
  events: DialEvents,
): Connection {
  const remote = `node ${peer} at ${address.url}`;
  const socket = openSocket(context, address);
  let secured = false;
  socket.once('secureConnect', () => {
    secured = true;
  });
  const connection: Connection = new Connection(context, socket, remote, {
    onFrame(content, owned) {
      if (connection.greeted) return events.onFrame(content, owned);
      const refusal = checkWelcome(context, peer, content);
      if (refusal !== undefined) {
        const text = `${remote} is not the peer that we look for: ${refusal}`;
        context.warn(`refused ${remote}`, text);
        return connection.close(new QuorateError('ERR_PROTOCOL', text));
      }
      connection.greet(deadAfterMs);
      events.onOpen();
    },
    onClose(reason) {
      if (!connection.greeted) explain(context, remote, reason, secured);
      events.onClose(reason);
    },
  });
  const hello = encodeHello({
    oldestVersion: PROTOCOL_VERSION.oldest,
    newestVersion: PROTOCOL_VERSION.newest,
    clusterId: context.clusterId,
    from: context.id,
    to: peer,
    incarnation: context.incarnation,
    channel,
  });
  connection.send(new OutFrame(FrameKind.hello, undefined, hello, undefined));
  return connection;
}

function openSocket(context: TransportContext, address: PeerAddress): Socket {
  const { host, port, secure } = address;
  if (!secure) return connect({ host, port });
  const tls = context.tls;
  return connectTls({
    host,
    port,
    ...(isIP(host) === 0 ? { servername: host } : {}),
    ...(tls === undefined ? {} : { cert: tls.cert, key: tls.key }),
    ...(tls?.ca === undefined ? {} : { ca: tls.ca }),
    minVersion: 'TLSv1.2',
  });
}

/** Why the answer to our hello is no welcome, or nothing. */
function checkWelcome(
  context: TransportContext,
  peer: NodeId,
  content: Buffer,
): string | undefined {
  if (content[0] !== FrameKind.welcome) return 'it did not answer the hello';
  const welcome = decodeWelcome(content, 1);
  if (welcome.refused !== '') return welcome.refused;
  if (welcome.clusterId !== context.clusterId) {
    return `it belongs to cluster ${welcome.clusterId}, we to ${context.clusterId}`;
  }
  if (welcome.nodeId !== peer) return `it is node ${welcome.nodeId}`;
  const { oldest, newest } = PROTOCOL_VERSION;
  if (welcome.version >= oldest && welcome.version <= newest) return undefined;
  return `it chose protocol version ${welcome.version}, we speak ${oldest} to ${newest}`;
}

/** A peer that is down is no news; one that speaks something else, or refuses us, is. */
function explain(context: TransportContext, remote: string, reason: Error, secured: boolean): void {
  const code = (reason as NodeJS.ErrnoException).code ?? '';
  if (code === 'ERR_PROTOCOL') context.warn(`protocol ${remote}`, `${remote}: ${reason.message}`);
  else if (
    /^(ERR_TLS|ERR_SSL|CERT_|SELF_SIGNED|DEPTH_ZERO|UNABLE_TO|EPROTO|ENOTFOUND)/.test(code)
  ) {
    context.warn(`tls ${remote}`, `cannot connect to ${remote}: ${reason.message}`);
  } else if (secured && code !== 'ERR_CLOSED') {
    // In TLS 1.3 the client is done before the server looks at the client's certificate.
    const hint = 'perhaps it does not trust our certificate; its log says more';
    context.warn(`tls ${remote}`, `${remote} did not answer after the TLS handshake: ${hint}`);
  }
}
