import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ErrorCode, isQuorateError } from '../../core/errors.ts';
import type { NodeId } from '../types.ts';
import type { MemberChange } from './member-change.ts';
import { idOf, memberOf, type TestReplica, urlsOf, withReplicas } from './test-replicas.ts';

const add = (n: number, learner = false): MemberChange => ({
  kind: 'add',
  member: memberOf(n, learner),
});
const remove = (n: number): MemberChange => ({ kind: 'remove', id: idOf(n) });
const promote = (n: number): MemberChange => ({ kind: 'promote', id: idOf(n) });

const put = (node: TestReplica, text: string): Promise<string> =>
  node.replica.propose(Buffer.from(text));
const votersOf = (node: TestReplica): NodeId[] => [...node.replica.members.configuration().voters];

test('one node becomes three by learners that are promoted, asked for on any node', async () => {
  await withReplicas([1], async (cluster) => {
    await put(cluster.node(1), 'a');
    await cluster.change(1, add(2, true));
    await cluster.inSync(2);
    assert.equal(cluster.node(2).replica.status().role, 'learner');
    const members = await cluster.change(2, promote(2));
    assert.deepEqual(members, [memberOf(1), memberOf(2)]);
    await cluster.change(2, add(3, true));
    await cluster.inSync(3);
    await cluster.change(3, promote(3));
    for (const n of [1, 2, 3]) {
      await put(cluster.node(n), `from ${n}`);
      assert.deepEqual(votersOf(cluster.node(n)), [1, 2, 3].map(idOf));
    }
    await cluster.node(1).replica.close();
    cluster.nodes.delete(1);
    await put(await cluster.leader(), 'without the first');
  });
});

test('a newcomer gets the members with the snapshot', async () => {
  const settings = { snapshotEntries: 5, keepEntries: 1 };
  await withReplicas(
    [1],
    async (cluster) => {
      for (let i = 0; i < 30; i++) await put(cluster.node(1), `${i}`);
      await cluster.until(() => cluster.node(1).replica.status().firstIndex > 10);
      await cluster.change(1, add(2));
      await cluster.caughtUp(2, 1);
      assert.deepEqual(cluster.node(2).journal.commands, cluster.node(1).journal.commands);
      assert.deepEqual(votersOf(cluster.node(2)), [1, 2].map(idOf));
    },
    settings,
  );
});

test('several changes at once replace a member, through a joint configuration that ends by itself', async () => {
  await withReplicas([1, 2, 3], async (cluster) => {
    const leader = await cluster.leader();
    const [gone] = [1, 2, 3].filter((n) => idOf(n) !== leader.id);
    const members = await cluster.change(Number(leader.id), add(4), remove(gone!));
    const expected = [1, 2, 3, 4].filter((n) => n !== gone);
    assert.deepEqual(
      members,
      expected.map((n) => memberOf(n)),
    );
    const configuration = { voters: expected.map(idOf), learners: [] };
    assert.deepEqual(leader.replica.members.configuration(), configuration);
    await cluster.until(() => cluster.node(gone!).removed);
    await cluster.caughtUp(4, Number(leader.id));
    await put(cluster.node(4), 'x');
  });
});

test('a removed leader hands over, notices, and stops with a clear error', async () => {
  await withReplicas([1, 2, 3], async (cluster) => {
    const leader = await cluster.leader();
    await leader.replica.changeMembers([remove(Number(leader.id))]);
    await cluster.until(() => leader.removed);
    await assert.rejects(put(leader, 'x'), (error) => {
      return isQuorateError(error, 'ERR_CLOSED') && /removed from the cluster/.test(error.message);
    });
    cluster.nodes.delete(Number(leader.id));
    const next = await cluster.leader();
    assert.notEqual(next.id, leader.id);
    await put(next, 'x');
    await leader.replica.close();
  });
});

test('two nodes shrink to one, whoever leads', async () => {
  for (const isLeaderGone of [true, false]) {
    await withReplicas([1, 2], async (cluster) => {
      const leader = await cluster.leader();
      const other = cluster.node(3 - Number(leader.id));
      const gone = isLeaderGone ? leader : other;
      const kept = isLeaderGone ? other : leader;
      await kept.replica.changeMembers([remove(Number(gone.id))]);
      await cluster.until(() => gone.removed);
      await put(kept, 'alone');
      assert.deepEqual(votersOf(kept), [kept.id]);
    });
  }
});

test('what makes no sense is refused, and nothing changes', async () => {
  await withReplicas([1, 2, 3], async (cluster) => {
    const leader = await cluster.leader();
    const before = leader.replica.members.list();
    const stranger: MemberChange = { kind: 'remove', id: idOf(99) };
    const refused: [MemberChange[], ErrorCode][] = [
      [[add(2)], 'ERR_MEMBER_EXISTS'],
      [[{ kind: 'add', member: { peerUrls: urlsOf(1) } }], 'ERR_PEER_URL_EXISTS'],
      [[{ kind: 'update', id: idOf(1), peerUrls: urlsOf(2) }], 'ERR_PEER_URL_EXISTS'],
      [[{ kind: 'add', member: { peerUrls: ['node9'] } }], 'ERR_BAD_PEER_URLS'],
      [[{ kind: 'add', member: { peerUrls: [] } }], 'ERR_BAD_PEER_URLS'],
      [[{ kind: 'add', member: { peerUrls: ['http://a:1/path'] } }], 'ERR_BAD_PEER_URLS'],
      [[stranger], 'ERR_MEMBER_NOT_FOUND'],
      [[promote(99)], 'ERR_MEMBER_NOT_FOUND'],
      [[promote(1)], 'ERR_NOT_LEARNER'],
      [[remove(1), remove(2), remove(3)], 'ERR_NOT_ENOUGH_STARTED'],
      [[add(4, true), add(5, true)], 'ERR_TOO_MANY_LEARNERS'],
      [[remove(1), remove(1)], 'ERR_INVALID_ARGUMENT'],
      [[], 'ERR_INVALID_ARGUMENT'],
      [[{ kind: 'remove', id: 'x' }], 'ERR_INVALID_ARGUMENT'],
    ];
    for (const node of cluster.nodes.values()) {
      for (const [changes, code] of refused) {
        await assert.rejects(
          node.replica.changeMembers(changes),
          (error) => isQuorateError(error, code) && error.outcome === 'not-applied',
          `${JSON.stringify(changes)} is ${code}`,
        );
      }
    }
    for (const node of cluster.nodes.values())
      assert.deepEqual(node.replica.members.list(), before);
    await put(leader, 'x');
  });
});

test('a change that the members which run could not carry is refused', async () => {
  await withReplicas([1, 2, 3], async (cluster) => {
    cluster.notStarted = [2, 3];
    const refusedAs = (code: ErrorCode, ...changes: MemberChange[]): Promise<void> =>
      assert.rejects(cluster.node(1).replica.changeMembers(changes), (error) =>
        isQuorateError(error, code),
      );
    await refusedAs('ERR_NOT_ENOUGH_STARTED', add(4));
    await refusedAs('ERR_NOT_ENOUGH_STARTED', remove(1));
    cluster.notStarted = [];
    const leader = await cluster.leader();
    const [down, up] = [1, 2, 3].filter((n) => idOf(n) !== leader.id);
    cluster.network.isolate(idOf(down!));
    const ask = Number(leader.id);
    await assert.rejects(
      cluster.node(ask).replica.changeMembers([add(4)]),
      (error) => isQuorateError(error, 'ERR_UNAVAILABLE') && error.outcome === 'not-applied',
    );
    await assert.rejects(cluster.node(ask).replica.changeMembers([remove(up!)]), (error) =>
      isQuorateError(error, 'ERR_UNAVAILABLE'),
    );
    // What is down may go.
    await cluster.node(ask).replica.changeMembers([remove(down!)]);
    assert.deepEqual(votersOf(leader), [ask, up!].sort().map(idOf));
  });
});

test('a learner that is behind is not promoted', async () => {
  await withReplicas([1], async (cluster) => {
    for (let i = 0; i < 20; i++) await put(cluster.node(1), `${i}`);
    await cluster.node(1).replica.changeMembers([add(2, true)]);
    await assert.rejects(cluster.node(1).replica.changeMembers([promote(2)]), (error) =>
      isQuorateError(error, 'ERR_LEARNER_NOT_READY'),
    );
    await assert.rejects(cluster.node(1).replica.changeMembers([add(3, true)]), (error) =>
      isQuorateError(error, 'ERR_TOO_MANY_LEARNERS'),
    );
    await cluster.open(2);
    await cluster.inSync(2);
    await cluster.node(1).replica.changeMembers([promote(2)]);
  });
});

test('of changes that conflict, asked for at once on different nodes, one is done', async () => {
  await withReplicas([1, 2, 3], async (cluster) => {
    const url = 'http://new:1';
    const asked = [1, 2, 3].map((n) => {
      const member = { id: idOf(10 + n), peerUrls: [url], learner: true };
      return cluster.node(n).replica.changeMembers([{ kind: 'add', member }]);
    });
    const results = await Promise.allSettled(asked);
    const failures = results.filter((result) => result.status === 'rejected');
    assert.equal(failures.length, 2);
    for (const { reason } of failures) assert.ok(isQuorateError(reason, 'ERR_PEER_URL_EXISTS'));
    const leader = await cluster.leader();
    assert.equal(leader.replica.members.list().length, 4);
  });
});

test('a removed id never comes back; the same URLs may, under a new one', async () => {
  await withReplicas([1, 2, 3], async (cluster) => {
    const leader = await cluster.leader();
    const [gone] = [1, 2, 3].filter((n) => idOf(n) !== leader.id);
    await leader.replica.changeMembers([remove(gone!)]);
    await assert.rejects(leader.replica.changeMembers([add(gone!)]), (error) =>
      isQuorateError(error, 'ERR_MEMBER_NOT_FOUND'),
    );
    const members = await leader.replica.changeMembers([
      { kind: 'add', member: { peerUrls: urlsOf(gone!), learner: true } },
    ]);
    const added = members.find(({ learner }) => learner);
    assert.deepEqual(added?.peerUrls, urlsOf(gone!));
    assert.notEqual(added?.id, idOf(gone!));
  });
});

test('a change of members waits for a leader, and ends with the time that it has', async () => {
  await withReplicas(
    [1, 2, 3],
    async (cluster) => {
      for (const n of [2, 3]) cluster.network.isolate(idOf(n));
      await cluster.until(() => cluster.node(1).replica.leader === '');
      await assert.rejects(cluster.node(1).replica.changeMembers([add(4, true)]), (error) => {
        return isQuorateError(error, 'ERR_NO_LEADER') && error.outcome === 'not-applied';
      });
    },
    { requestTimeoutMs: 300 },
  );
});

test('a change that a peer garbled is refused, and does not get into the log', async () => {
  await withReplicas([1, 2], async (cluster) => {
    const leader = await cluster.leader();
    const [other] = [1, 2].filter((n) => idOf(n) !== leader.id);
    const before = leader.replica.status().lastIndex;
    for (const steps of [
      [{ kind: 'add', member: { id: idOf(9), peerUrls: [], learner: true } }],
      [{ kind: 'remove', id: '0'.repeat(16) }],
      [{ kind: 'shout', id: idOf(1) }],
      {},
    ]) {
      const payload = Buffer.from(JSON.stringify(steps));
      const answer = cluster.node(other!).replica.callLeader('change-members', payload, 1000);
      assert.match(Buffer.from(await answer).toString(), /"error":\{"code":"ERR_/);
    }
    assert.equal(leader.replica.status().lastIndex, before);
  });
});

test('no change gets into the log while a voter that was added is missing for a majority', async () => {
  await withReplicas([1], async (cluster) => {
    const leader = cluster.node(1);
    await cluster.change(1, add(2, true));
    await cluster.inSync(2);
    await leader.replica.changeMembers([add(3)]);
    await cluster.inSync(2);
    const { lastIndex } = leader.replica.status();
    for (const change of [promote(2), remove(2), remove(3)]) {
      await assert.rejects(
        leader.replica.changeMembers([change]),
        (error) => isQuorateError(error, 'ERR_UNAVAILABLE') && error.outcome === 'not-applied',
      );
    }
    assert.equal(leader.replica.status().lastIndex, lastIndex);
    await cluster.open(3);
    await cluster.inSync(3);
    await leader.replica.changeMembers([promote(2)]);
    assert.equal(votersOf(leader).length, 3);
  });
});
