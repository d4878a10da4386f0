/**
 * A node that is to join a cluster asks a member who the members are: it knows neither its id nor the
 * cluster's yet, so it cannot say hello. One connection, one question, one answer.
 */
import { QuorateError } from '../../core/errors.ts';
import { NO_NODE } from '../types.ts';
import { parsePeerUrl } from './address.ts';
import { Connection } from './connection.ts';
import { createContext } from './context.ts';
import { FrameKind, OutFrame } from './frame.ts';
import type { TcpTransportOptions } from './settings.ts';

/** How to reach the member; `tls` where its URL says `https`. */
export type AskOptions = Pick<
  TcpTransportOptions,
  'tls' | 'clock' | 'random' | 'sockets' | 'defer' | 'settings'
>;

/**
 * What the member at `url` answers: see `describeCluster` of its transport. Rejects with `ERR_UNAVAILABLE` where it
 * cannot be reached, `ERR_TIMEOUT` where no answer comes, `ERR_PROTOCOL` where it is no member.
 */
export function askMembers(url: string, options: AskOptions): Promise<Uint8Array> {
  const address = parsePeerUrl(url);
  const context = createContext(
    { ...options, id: NO_NODE, clusterId: NO_NODE, listenUrls: [] },
    { admission: () => 'unknown', removed: () => undefined },
  );
  const { clock, settings } = context;
  const asked = Promise.withResolvers<Uint8Array>();
  const socket = context.sockets.connect(address, context.tls);
  const connection = new Connection(context, socket, url, {
    onFrame(content) {
      if (content[0] !== FrameKind.members) {
        connection.close(new QuorateError('ERR_PROTOCOL', `${url} does not tell its members`));
        return;
      }
      asked.resolve(Buffer.from(content.subarray(1)));
      connection.close(new QuorateError('ERR_CLOSED', 'all was said'));
    },
    // After an answer this changes nothing any more.
    onClose: (reason) => asked.reject(unreachable(url, reason)),
  });
  connection.greet(settings.deadAfterMs);
  connection.send(new OutFrame(FrameKind.askMembers, undefined, undefined, undefined));
  const cancel = clock.after(settings.handshakeTimeoutMs, () => {
    connection.close(new QuorateError('ERR_TIMEOUT', `${url} does not answer`));
  });
  return asked.promise.finally(cancel);
}

function unreachable(url: string, reason: Error): Error {
  if (reason instanceof QuorateError) return reason;
  return new QuorateError('ERR_UNAVAILABLE', `${url} cannot be reached: ${reason.message}`, {
    retryable: true,
    cause: reason,
  });
}
