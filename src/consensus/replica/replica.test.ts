import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isQuorateError } from '../../core/errors.ts';
import { MessageType } from '../messages.ts';
import { draft } from '../raft/draft.ts';
import type { Transport } from '../transport.ts';
import type { ReplicaStatus } from './options.ts';
import { replicaSettings } from './settings.ts';
import { idOf, type TestReplica, type TestReplicas, withReplicas } from './test-replicas.ts';

const bytes = (text: string): Buffer => Buffer.from(text);

const withCluster = (
  run: (cluster: TestReplicas) => Promise<void>,
  settings?: Parameters<typeof replicaSettings>[0],
): Promise<void> => withReplicas([1, 2, 3], run, settings);

test('a proposal on any node resolves with what that node applied', async () => {
  await withCluster(async (cluster) => {
    await cluster.leader();
    const answers: string[] = [];
    for (const node of cluster.nodes.values()) answers.push(await node.replica.propose(bytes('x')));
    assert.deepEqual(answers, ['1:x', '2:x', '3:x']);
  });
});

test('concurrent proposals from all nodes are applied once each, in one order everywhere', async () => {
  await withCluster(async (cluster) => {
    await cluster.leader();
    const sent: string[] = [];
    await Promise.all(
      [...cluster.nodes.values()].flatMap((node, n) =>
        Array.from({ length: 200 }, (_, i) => {
          sent.push(`${n}-${i}`);
          return node.replica.propose(bytes(`${n}-${i}`));
        }),
      ),
    );
    const journals = [...cluster.nodes.values()].map((node) => node.journal);
    await cluster.until(() => journals.every((journal) => journal.commands.length === 600));
    assert.deepEqual([...journals[0]!.commands].sort(), sent.sort());
    for (const journal of journals) assert.deepEqual(journal.commands, journals[0]!.commands);
  });
});

test('a read barrier on a follower shows every write that was acknowledged before it', async () => {
  await withCluster(async (cluster) => {
    const leader = await cluster.leader();
    const follower = [...cluster.nodes.values()].find((node) => node !== leader)!;
    for (let i = 0; i < 50; i++) {
      await leader.replica.propose(bytes(String(i)));
      await follower.replica.readBarrier();
      assert.equal(follower.journal.commands.length, i + 1);
    }
  });
});

test('proposals that a deposed leader could not commit are proposed again and applied once', async () => {
  await withCluster(async (cluster) => {
    const leader = await cluster.leader();
    cluster.network.isolate(leader.id);
    const stranded = Array.from({ length: 20 }, (_, i) => leader.replica.propose(bytes(`s${i}`)));
    const rest = [...cluster.nodes.values()].filter((node) => node !== leader);
    await cluster.until(() => rest.find((node) => node.replica.leading));
    await rest[0]!.replica.propose(bytes('meanwhile'));
    cluster.network.rejoin(leader.id);
    await Promise.all(stranded);
    await rest[0]!.replica.readBarrier();
    const { commands } = rest[0]!.journal;
    assert.equal(new Set(commands).size, commands.length, 'nothing twice');
    assert.equal(commands.length, 21);
  });
});

test('a leader that was cut off answers no read from its old state', async () => {
  await withCluster(
    async (cluster) => {
      const leader = await cluster.leader();
      await leader.replica.propose(bytes('old'));
      cluster.network.isolate(leader.id);
      const read = leader.replica.readBarrier();
      await assert.rejects(read, (error) => isQuorateError(error) && error.retryable);
    },
    { requestTimeoutMs: 300 },
  );
});

test('without a majority a proposal is refused as not applied, and never is', async () => {
  await withCluster(
    async (cluster) => {
      const leader = await cluster.leader();
      const follower = [...cluster.nodes.values()].find((node) => node !== leader)!;
      for (const node of cluster.nodes.values()) cluster.network.isolate(node.id);
      await cluster.until(() => follower.replica.leader === '');
      await assert.rejects(
        follower.replica.propose(bytes('lost')),
        (error) => isQuorateError(error, 'ERR_NO_LEADER') && error.outcome === 'not-applied',
      );
      for (const node of cluster.nodes.values()) cluster.network.rejoin(node.id);
      await cluster.until(() => [...cluster.nodes.values()].some((node) => node.replica.leading));
      await follower.replica.propose(bytes('found'));
      assert.deepEqual(follower.journal.commands, ['found']);
    },
    { requestTimeoutMs: 300 },
  );
});

test('an appended proposal without an answer in time has an unknown outcome', async () => {
  await withCluster(
    async (cluster) => {
      const leader = await cluster.leader();
      const others = [...cluster.nodes.values()].filter((node) => node !== leader);
      // One way: the leader's appends are lost, so it keeps leading until it notices.
      for (const { id } of others) cluster.network.cut(leader.id, id);
      await assert.rejects(
        leader.replica.propose(bytes('maybe')),
        (error) => isQuorateError(error, 'ERR_TIMEOUT') && error.outcome === 'unknown',
      );
    },
    { requestTimeoutMs: 50 },
  );
});

test('a node that fell behind the log gets a snapshot and then the rest', async () => {
  await withCluster(
    async (cluster) => {
      const leader = await cluster.leader();
      const late = [...cluster.nodes.values()].find((node) => node !== leader)!;
      cluster.network.isolate(late.id);
      for (let i = 0; i < 200; i++) await leader.replica.propose(bytes(`p${i}`));
      await cluster.until(() => leader.replica.status().firstIndex > 50);
      cluster.network.rejoin(late.id);
      await cluster.until(() => late.journal.commands.length === 200);
      await leader.replica.propose(bytes('after'));
      await late.replica.readBarrier();
      assert.deepEqual(late.journal.commands, leader.journal.commands);
      assert.ok(late.replica.status().snapshotIndex > 0);
    },
    { snapshotEntries: 20, keepEntries: 5 },
  );
});

test('closing the leader hands leadership over first', async () => {
  await withCluster(async (cluster) => {
    const leader = await cluster.leader();
    const changes: ReplicaStatus[] = [];
    const { term } = leader.replica.status();
    await leader.replica.close();
    const next = await cluster.until(() =>
      [...cluster.nodes.values()].find((node) => node !== leader && node.replica.leading),
    );
    assert.equal(next.replica.status().term, term + 1, 'one planned election');
    assert.deepEqual(changes, []);
  });
});

test('a closed node answers everything that was open', async () => {
  await withCluster(async (cluster) => {
    const leader = await cluster.leader();
    for (const { id } of cluster.nodes.values()) if (id !== leader.id) cluster.network.isolate(id);
    const open = leader.replica.propose(bytes('open'));
    const read = leader.replica.readBarrier();
    const settled = Promise.allSettled([open, read]);
    await leader.replica.close();
    const outcomes = (await settled).map((one) =>
      one.status === 'rejected' ? one.reason.code : 'done',
    );
    assert.deepEqual(outcomes, ['ERR_CLOSED', 'ERR_CLOSED']);
    await assert.rejects(leader.replica.propose(bytes('late')), (e) =>
      isQuorateError(e, 'ERR_CLOSED'),
    );
  });
});

test('a proposal that is not of bytes, or of none, is refused before it is placed', async () => {
  await withCluster(async (cluster) => {
    const leader = await cluster.leader();
    for (const wrong of ['text', undefined, [1], new Uint8Array()]) {
      await assert.rejects(leader.replica.propose(wrong as Uint8Array), {
        code: 'ERR_INVALID_ARGUMENT',
        outcome: 'not-applied',
      });
    }
    assert.deepEqual(leader.journal.commands, []);
  });
});

test('closing twice at once is closing once', async () => {
  await withCluster(async (cluster) => {
    const leader = await cluster.leader();
    await Promise.all([leader.replica.close(), leader.replica.close()]);
  });
});

test('what only a leader may propose is never proposed again under another one', async () => {
  await withCluster(async (cluster) => {
    const leader = await cluster.leader();
    const rest = [...cluster.nodes.values()].filter((node) => node !== leader);
    const onlyAsLeader = { onlyAsLeader: true };
    await leader.replica.propose(bytes('mine'), onlyAsLeader);
    const notLeading = { code: 'ERR_NOT_LEADER', outcome: 'not-applied' };
    await assert.rejects(rest[0]!.replica.propose(bytes('not mine'), onlyAsLeader), notLeading);
    cluster.network.isolate(leader.id);
    const stranded = leader.replica.propose(bytes('stranded'), onlyAsLeader);
    const refused = assert.rejects(stranded, notLeading);
    await cluster.until(() => rest.find((node) => node.replica.leading));
    cluster.network.rejoin(leader.id);
    await refused;
    await leader.replica.propose(bytes('after'));
    assert.deepEqual(leader.journal.commands, ['mine', 'after']);
  });
});

const FORGED = idOf(3);

/** A cluster of two, and the transport of the third member in the test's hands. */
async function withForgedPeer(
  run: (follower: TestReplica, forged: Transport, cluster: TestReplicas) => Promise<void>,
): Promise<void> {
  await withCluster(async (cluster) => {
    await cluster.node(3).replica.close();
    const others = [cluster.node(1), cluster.node(2)];
    const forged = cluster.network.transport(FORGED);
    forged.setPeers(new Map(others.map(({ id }) => [id, ['http://x:1']])));
    await forged.start({
      onMessage: () => undefined,
      onCall: () => Promise.reject(new Error('no')),
      onSnapshot: () => Promise.reject(new Error('no')),
      onUnreachable: () => undefined,
    });
    const leader = await cluster.leader();
    await leader.replica.propose(bytes('one'));
    const follower = others.find((node) => node !== leader)!;
    await follower.replica.readBarrier();
    await run(follower, forged, cluster);
    await forged.close();
  });
}

test('a node that has lost what it promised stops itself, and answers ERR_CLOSED from then on', async () => {
  await withForgedPeer(async (follower, forged, cluster) => {
    forged.send({
      ...draft(MessageType.heartbeat, FORGED, follower.id, follower.replica.term + 1),
      commit: 1_000_000,
    });
    // Taken out: at the end of the test there must be no other.
    const failure = await cluster.until(() => follower.failures.shift());
    assert.ok(isQuorateError(failure, 'ERR_CORRUPT'));
    const closed = { code: 'ERR_CLOSED', cause: failure };
    await assert.rejects(follower.replica.propose(bytes('x')), closed);
    await assert.rejects(follower.replica.readBarrier(), closed);
  });
});

test('a snapshot older than the state is not taken, and its leader hears that all is well', async () => {
  await withForgedPeer(async (follower, forged) => {
    const { term, appliedIndex: index } = follower.replica.status();
    const message = { ...draft(MessageType.snapshot, FORGED, follower.id, term + 1), index };
    const configuration = { voters: [1, 2, 3].map(idOf), learners: [] };
    async function* chunks(): AsyncGenerator<Uint8Array> {
      yield Buffer.from('never read');
    }
    await forged.sendSnapshot(message, { index, term, configuration }, chunks());
    assert.deepEqual(follower.failures, []);
    assert.deepEqual(follower.journal.commands, ['one']);
  });
});

test('a proposal over the limit is refused at the door', async () => {
  await withCluster(
    async (cluster) => {
      const leader = await cluster.leader();
      await assert.rejects(leader.replica.propose(Buffer.alloc(101)), (error) =>
        isQuorateError(error, 'ERR_REQUEST_TOO_LARGE'),
      );
      await assert.rejects(leader.replica.propose(Buffer.alloc(0)), (error) =>
        isQuorateError(error, 'ERR_INVALID_ARGUMENT'),
      );
    },
    { maxProposalBytes: 100 },
  );
});

test('settings that contradict each other are refused by name', () => {
  assert.throws(() => replicaSettings({ heartbeatMs: 500, electionMs: 1000 }), /electionMs/);
  assert.throws(() => replicaSettings({ electionMs: 60_000 }), /electionMs/);
  assert.throws(() => replicaSettings({ snapshotEntries: 0 }), /snapshotEntries/);
  assert.equal(replicaSettings({ electionMs: 2000 }).requestTimeoutMs, 9000);
});
