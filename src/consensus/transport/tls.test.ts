import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { testAuthority } from '../../testing/certificates.ts';
import { askMembers } from './ask-members.ts';
import { type TlsFiles, tcpTransport } from './tcp.ts';
import { A, B, CLUSTER, Recorder, turn } from './testing.ts';

describe('a transport with TLS', () => {
  let folder = '';
  let ours: TlsFiles;
  let stranger: TlsFiles;

  const save = async (file: string, text: string): Promise<string> => {
    await writeFile(join(folder, file), text);
    return join(folder, file);
  };
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'quorate-tls-'));
    const [authority, other] = [testAuthority('ours'), testAuthority('other')];
    const [node, foreign] = [authority.issue('node'), other.issue('node')];
    const trustedCaFile = await save('ca.pem', authority.cert);
    ours = {
      certFile: await save('node.pem', node.cert),
      keyFile: await save('node.key', node.key),
      trustedCaFile,
      clientCertAuth: true,
    };
    stranger = {
      certFile: await save('other.pem', foreign.cert),
      keyFile: await save('other.key', foreign.key),
      trustedCaFile,
    };
  });
  after(() => rm(folder, { recursive: true, force: true }));

  const open = async (id: string, tls: TlsFiles | undefined, lines: string[] = []) => {
    const transport = tcpTransport({
      id,
      clusterId: CLUSTER,
      listenUrls: [tls === undefined ? 'http://127.0.0.1:0' : 'https://127.0.0.1:0'],
      tls,
      log: (level, text) => level === 'warn' && lines.push(text),
      describeCluster: () => Buffer.from('who we are'),
    });
    const recorder = new Recorder();
    await transport.start(recorder);
    return { transport, recorder };
  };

  it('connects nodes whose certificates are signed by the trusted authority', async () => {
    const [a, b] = [await open(A, ours), await open(B, ours)];
    a.transport.setPeers(new Map([[B, b.transport.listenUrls]]));
    b.transport.setPeers(new Map([[A, a.transport.listenUrls]]));
    while (!a.transport.peers()[0]!.connected) await turn();
    const reply = await a.transport.call(B, 'echo', Buffer.from('over TLS'), 5000);
    assert.equal(Buffer.from(reply).toString(), 'over TLS');
    await Promise.all([a.transport.close(), b.transport.close()]);
  });

  it('refuses a node whose certificate another authority signed, and says so', async () => {
    const lines: string[] = [];
    const [a, b] = [await open(A, ours, lines), await open(B, stranger, lines)];
    a.transport.setPeers(new Map([[B, b.transport.listenUrls]]));
    b.transport.setPeers(new Map([[A, a.transport.listenUrls]]));
    while (!lines.some((line) => line.startsWith('cannot connect'))) await turn();
    while (!lines.some((line) => /^no TLS connection.*certificate is not trusted/.test(line))) {
      await turn();
    }
    assert.equal(a.transport.peers()[0]!.connected, false);
    assert.equal(b.transport.peers()[0]!.connected, false);
    await Promise.all([a.transport.close(), b.transport.close()]);
  });

  it('tells a node that its certificate is perhaps why it is refused', async () => {
    const lines: string[] = [];
    const a = await open(A, ours);
    // Trusts us, and is not trusted.
    const b = await open(B, { ...stranger, trustedCaFile: ours.trustedCaFile }, lines);
    b.transport.setPeers(new Map([[A, a.transport.listenUrls]]));
    while (!lines.some((line) => /does not trust our certificate/.test(line))) await turn();
    await Promise.all([a.transport.close(), b.transport.close()]);
  });

  it('tells who the members are only to those whose certificate it trusts', async () => {
    const a = await open(A, ours);
    const [url] = a.transport.listenUrls;
    const answer = await askMembers(url!, { tls: ours });
    assert.equal(Buffer.from(answer).toString(), 'who we are');
    const trustsUs = { ...stranger, trustedCaFile: ours.trustedCaFile };
    for (const tls of [trustsUs, undefined]) {
      await assert.rejects(askMembers(url!, { tls }), { code: 'ERR_UNAVAILABLE' });
    }
    await a.transport.close();
  });

  it('names the mistake when one side uses http and the other https', async () => {
    const lines: string[] = [];
    const [a, b] = [await open(A, ours, lines), await open(B, undefined, lines)];
    const wrongUrl = b.transport.listenUrls.map((url) => url.replace('http:', 'https:'));
    a.transport.setPeers(new Map([[B, wrongUrl]]));
    while (!lines.some((line) => /speaks TLS/.test(line))) await turn();
    await Promise.all([a.transport.close(), b.transport.close()]);
  });

  it('refuses to open with a file that cannot be read, which the error names', () => {
    const missing = { ...ours, keyFile: join(folder, 'absent.key') };
    const options = { id: A, clusterId: CLUSTER, listenUrls: [], tls: missing };
    assert.throws(() => tcpTransport(options), {
      code: 'ERR_INVALID_ARGUMENT',
      message: /absent\.key/,
    });
  });
});
