import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseEtcdFlags } from './etcd-flags.ts';
import { type ServeSettings, serveSettings } from './serve-settings.ts';

const settings = (...argv: string[]): ServeSettings => serveSettings(parseEtcdFlags(argv, {}));

test("without flags everything is etcd's default", () => {
  const { node, listenClientUrls, tls, logLevel, logFormat, logOutput } = settings();
  assert.equal(node.name, 'default');
  assert.equal(node.dataDir, 'default.etcd');
  assert.deepEqual(node.peers, { default: ['http://localhost:2380'] });
  assert.deepEqual(node.listenPeerUrls, ['http://localhost:2380']);
  assert.deepEqual(node.clientUrls, ['http://localhost:2379']);
  assert.deepEqual(listenClientUrls, ['http://localhost:2379']);
  assert.equal(node.fsync, true);
  assert.equal(node.autoCompaction, undefined);
  assert.equal(tls, undefined);
  assert.deepEqual([logLevel, logFormat, logOutput], ['info', 'json', 'stderr']);
});

test('a cluster names every member with its URLs', () => {
  const { node } = settings(
    '--name=b',
    '--initial-cluster=a=http://h1:2380,b=http://h2:2380,b=https://h2:80',
    '--initial-advertise-peer-urls=http://h2:2380',
    '--initial-cluster-token=t',
  );
  assert.deepEqual(node.peers, {
    a: ['http://h1:2380'],
    b: ['http://h2:2380', 'https://h2:80'],
  });
  assert.equal(node.clusterToken, 't');
});

test('without --initial-cluster the node is alone under the URL it advertises', () => {
  const { node } = settings('--name=x', '--initial-advertise-peer-urls=http://h:5');
  assert.deepEqual(node.peers, { x: ['http://h:5'] });
});

test('a cluster without this node, or with a broken entry, is refused', () => {
  assert.throws(
    () => settings('--name=c', '--initial-cluster=a=http://h:1,b=http://h:2'),
    /no member 'c' \(--name\); it names a, b/,
  );
  assert.throws(() => settings('--initial-cluster=http://h:1'), /not of the form name=URL/);
  assert.throws(() => settings('--initial-cluster=__proto__=http://h:1'), /no member 'default'/);
});

test('an address is advertised as it is listened on, but not port 0', () => {
  const listen = '--listen-client-urls=http://h:1,http://h:2';
  assert.deepEqual(settings(listen).node.clientUrls, ['http://h:1', 'http://h:2']);
  const other = '--advertise-client-urls=http://x:9';
  assert.deepEqual(settings(listen, other).node.clientUrls, ['http://x:9']);
  assert.deepEqual(settings('--listen-client-urls=http://h:0').node.clientUrls, []);
});

test('an address without scheme, port or sense is refused', () => {
  for (const url of ['127.0.0.1:2379', 'http://h', 'ftp://h:1', 'http://h:1/path', 'http://h:x']) {
    assert.throws(() => settings(`--listen-client-urls=${url}`), /is no URL such as/, url);
  }
  assert.deepEqual(settings('--listen-client-urls=http://h:80').listenClientUrls, ['http://h:80']);
});

test('numbers and durations go to the node, and wrong ones are refused', () => {
  const { node } = settings(
    '--heartbeat-interval=50',
    '--election-timeout=500',
    '--snapshot-count=100',
    '--max-request-bytes=1000',
    '--max-txn-ops=5',
    '--watch-progress-notify-interval=1m30s',
    '--quota-backend-bytes=4096',
  );
  assert.equal(node.heartbeatMs, 50);
  assert.equal(node.electionMs, 500);
  assert.equal(node.snapshotEntries, 100);
  assert.equal(node.maxRequestBytes, 1000);
  assert.equal(node.maxTxnOperations, 5);
  assert.equal(node.watchProgressIntervalMs, 90_000);
  assert.equal(node.quotaBytes, 4096);
  assert.throws(() => settings('--election-timeout=1s'), /--election-timeout takes a whole number/);
  assert.throws(() => settings('--watch-progress-notify-interval=soon'), /is no duration/);
});

test('a quota of zero is the default, a negative one none', () => {
  assert.equal(settings('--quota-backend-bytes=0').node.quotaBytes, undefined);
  assert.equal(settings('--quota-backend-bytes=-1').node.quotaBytes, 0);
});

test('automatic compaction is off until a retention is given', () => {
  assert.equal(settings('--auto-compaction-retention=0').node.autoCompaction, undefined);
  assert.deepEqual(settings('--auto-compaction-retention=5m').node.autoCompaction, {
    mode: 'periodic',
    retention: '5m',
  });
  assert.throws(() => settings('--auto-compaction-mode=yearly'), /periodic, revision/);
});

test('certificate and key belong together', () => {
  assert.deepEqual(
    settings('--cert-file=c', '--key-file=k', '--trusted-ca-file=a', '--client-cert-auth').tls,
    { certFile: 'c', keyFile: 'k', trustedCaFile: 'a', clientCertAuth: true },
  );
  assert.deepEqual(settings('--peer-cert-file=c', '--peer-key-file=k').node.peerTls, {
    certFile: 'c',
    keyFile: 'k',
  });
  assert.throws(() => settings('--cert-file=c'), /must be given together/);
  assert.throws(() => settings('--client-cert-auth'), /needs --cert-file and --key-file/);
});

test('times that contradict each other are named by their flags', () => {
  assert.throws(
    () => settings('--heartbeat-interval=500', '--election-timeout=1000'),
    /--election-timeout: 1000 must be at least five times --heartbeat-interval \(500\)/,
  );
});

test('a node joins a running cluster where --initial-cluster-state says so', () => {
  assert.equal(settings('--initial-cluster-state=existing').node.join, true);
  assert.equal(settings('--initial-cluster-state', 'new').node.join, false);
  assert.equal(settings().node.join, false);
  assert.throws(
    () => settings('--initial-cluster-state=old'),
    /is one of new, existing, not 'old'/,
  );
});

test('lease reads are off until the drift of clocks is given', () => {
  assert.equal(settings().node.leaseReads, undefined);
  assert.deepEqual(settings('--lease-reads-drift=0.02').node.leaseReads, { maxClockDrift: 0.02 });
  for (const wrong of ['2%', '-1', '0', ' ', '0.9']) {
    assert.throws(() => settings(`--lease-reads-drift=${wrong}`), /--lease-reads-drift: '.*0.01/);
  }
});

test('nodes run Raft unless --consensus says otherwise', () => {
  assert.equal(settings().node.consensus, 'raft');
  assert.equal(settings('--consensus=paxos').node.consensus, 'paxos');
  assert.throws(() => settings('--consensus=zab'), /consensus.*raft.*paxos/);
});
