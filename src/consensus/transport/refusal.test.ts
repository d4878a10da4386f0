/** What the log says where two nodes do not belong together: operators read it on either side. */
import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import type { TcpTransportOptions } from './settings.ts';
import { type TcpTransport, tcpTransport } from './tcp.ts';
import { A, B, CLUSTER, Recorder, turn } from './testing.ts';

const opened: TcpTransport[] = [];

afterEach(async () => {
  await Promise.all(opened.splice(0).map((transport) => transport.close()));
});

async function open(options: Partial<TcpTransportOptions>, warnings: string[]) {
  const transport = tcpTransport({
    id: A,
    clusterId: CLUSTER,
    listenUrls: ['http://127.0.0.1:0'],
    log: (level, text) => level === 'warn' && warnings.push(text),
    ...options,
  });
  opened.push(transport);
  await transport.start(new Recorder());
  return transport;
}

/** What A logs, whom B refuses, and what B does. */
async function refusedBy(theirs: Partial<TcpTransportOptions>) {
  const [dialler, acceptor]: [string[], string[]] = [[], []];
  const b = await open({ ...theirs, id: B }, acceptor);
  const a = await open({}, dialler);
  a.setPeers(new Map([[B, b.listenUrls]]));
  while (dialler.length === 0 || acceptor.length === 0) await turn();
  // What else the close of this connection is to say, it says within the turn.
  await turn();
  return { dialler, acceptor, url: b.listenUrls[0]! };
}

test('a refusal is told once, in words of the peer that are marked as such', async () => {
  const other = 'd'.repeat(16);
  const { dialler, acceptor, url } = await refusedBy({ clusterId: other });
  const words = `it belongs to cluster ${CLUSTER}, this node to ${other}; to join another cluster`;
  assert.equal(dialler.length, 1, dialler.join('\n'));
  assert.ok(dialler[0]!.startsWith(`node ${B} at ${url} refused us with "${words}`), dialler[0]);
  assert.equal(acceptor.length, 1, acceptor.join('\n'));
  assert.ok(acceptor[0]!.startsWith(`refused node ${A} at `), acceptor[0]);
  assert.ok(acceptor[0]!.includes(`: ${words}`), acceptor[0]);
});
