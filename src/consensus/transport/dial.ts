/** Connects to a peer and exchanges the hello: the side that begins. */
import { QuorateError } from '../../core/errors.ts';
import type { NodeId } from '../types.ts';
import type { PeerAddress } from './address.ts';
import { type Channel, decodeWelcome, encodeHello, PROTOCOL_VERSION, REMOVED } from './codec.ts';
import { Connection } from './connection.ts';
import { FrameKind, OutFrame } from './frame.ts';
import type { TransportContext } from './settings.ts';

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
  const socket = context.sockets.connect(address, context.tls);
  let secured = false;
  let told = false;
  socket.once('secureConnect', () => {
    secured = true;
  });
  const connection: Connection = new Connection(context, socket, remote, {
    onFrame(content, owned) {
      if (connection.greeted) return events.onFrame(content, owned);
      const refusal = checkWelcome(context, peer, content);
      if (refusal !== undefined) {
        const text = `${remote} ${refusal}`;
        context.warn(`refused ${remote}`, text);
        told = true;
        if (refusal === refusedWith(REMOVED)) context.removed();
        return connection.close(new QuorateError('ERR_PROTOCOL', text));
      }
      connection.greet(deadAfterMs);
      events.onOpen();
    },
    onClose(reason) {
      if (!connection.greeted && !told) explain(context, remote, reason, secured);
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
    urls: context.advertisedUrls,
    consensus: context.consensus,
    leases: context.leases,
  });
  connection.send(new OutFrame(FrameKind.hello, undefined, hello, undefined));
  return connection;
}

const STRANGER = 'is not the peer that we look for';

/** In the words of the peer, where "this node" is the peer and "it" are we. */
function refusedWith(words: string): string {
  return `refused us with "${words}"`;
}

/** Why the answer to our hello is no welcome, or nothing. */
function checkWelcome(
  context: TransportContext,
  peer: NodeId,
  content: Buffer,
): string | undefined {
  if (content[0] !== FrameKind.welcome) return `${STRANGER}: it did not answer the hello`;
  const welcome = decodeWelcome(content, 1);
  if (welcome.refused !== '') return refusedWith(welcome.refused);
  if (welcome.clusterId !== context.clusterId) {
    return `${STRANGER}: it belongs to cluster ${welcome.clusterId}, we to ${context.clusterId}`;
  }
  if (welcome.nodeId !== peer) return `${STRANGER}: it is node ${welcome.nodeId}`;
  const { oldest, newest } = PROTOCOL_VERSION;
  if (welcome.version >= oldest && welcome.version <= newest) return undefined;
  return `${STRANGER}: it chose protocol version ${welcome.version}, we speak ${oldest} to ${newest}`;
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
