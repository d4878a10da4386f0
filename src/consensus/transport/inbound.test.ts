/** What the side that listens does with connections that come at a bad moment. */
import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { it } from 'node:test';
import type { ListenOptions, PeerSocket, PeerSockets } from './sockets.ts';
import { tcpTransport } from './tcp.ts';
import { A, CLUSTER, Recorder } from './testing.ts';

/** A connection that nobody is at the other end of. */
class IdleSocket extends EventEmitter implements PeerSocket {
  isDestroyed = false;
  write(): boolean {
    return true;
  }
  end(): void {
    // Nobody reads.
  }
  destroy(): void {
    this.isDestroyed = true;
    this.emit('close');
  }
  setNoDelay(): void {
    // Nothing leaves.
  }
}

it('ends a connection whose TLS handshake is done only after the transport began to close', async () => {
  let listening: ListenOptions | undefined;
  const late = new IdleSocket();
  const sockets: PeerSockets = {
    connect: () => new IdleSocket(),
    listen: async (_address, options) => {
      listening = options;
      return {
        port: 1,
        // As the system's: resolves when all its sockets are closed, those in the handshake too.
        close: () => new Promise((resolve) => late.once('close', resolve)),
      };
    },
  };
  const transport = tcpTransport({
    id: A,
    clusterId: CLUSTER,
    listenUrls: ['http://127.0.0.1:0'],
    sockets,
  });
  await transport.start(new Recorder());
  const closed = transport.close();
  listening!.onSocket(late);
  assert.ok(late.isDestroyed);
  await closed;
});
