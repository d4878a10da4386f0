import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { MessageType } from '../messages.ts';
import { guardMs, type LeaseOptions } from './lease.ts';
import { bytes, Cluster, leading, message, Node, only, type Start } from './test-cluster.ts';

/** A clock in the test's hands, and leases of 90 ms by it. */
class Time {
  ms = 1000;
  lease(fields: Partial<LeaseOptions> = {}): LeaseOptions {
    return { now: () => this.ms, durationMs: 90, maxClockDrift: 0.05, ...fields };
  }
}

const GUARD_MS = guardMs(90, 0.05);

/** Node 1 leads three in term 1, has a commit, and has just appended and committed another entry. */
function withLease(time: Time, start: Start = {}): Node {
  const node = leading({ lease: time.lease(), ...start });
  commitOne(node);
  return node;
}

function commitOne(node: Node): void {
  assert.equal(typeof node.core.propose([bytes('x')]), 'object');
  node.run();
  const { lastIndex, term } = node.status;
  node.core.step(message(MessageType.appendReply, '2', '1', term, { index: lastIndex }));
  node.run();
  assert.equal(node.status.commit, lastIndex);
}

describe('a leader with a lease', () => {
  test('answers reads at its commit index without a message', () => {
    const time = new Time();
    const node = withLease(time);
    time.ms += 40;
    node.core.readIndex(7);
    assert.deepEqual(node.run(), []);
    assert.deepEqual(node.reads, [{ context: 7, index: node.status.commit }]);
  });

  test('asks the others when it is over, also after a pause that no tick has seen', () => {
    const time = new Time();
    const node = withLease(time);
    time.ms += 90;
    node.core.readIndex(7);
    assert.equal(only(node.run(), MessageType.heartbeat).length, 2);
    assert.deepEqual(node.reads, []);
  });

  test('counts from the moment at which the entry was appended, not committed', () => {
    const time = new Time();
    const node = withLease(time);
    time.ms += 80;
    node.core.propose([bytes('y')]);
    node.run();
    const { lastIndex, term } = node.status;
    time.ms += 60;
    node.core.step(message(MessageType.appendReply, '2', '1', term, { index: lastIndex }));
    node.run();
    time.ms += 29;
    node.core.readIndex(1);
    node.run();
    assert.equal(node.reads.length, 1);
    time.ms += 1;
    node.core.readIndex(2);
    assert.equal(only(node.run(), MessageType.heartbeat).length, 2);
  });

  test('answers followers as well', () => {
    const time = new Time();
    const node = withLease(time);
    const asked = message(MessageType.readIndex, '3', '1', node.status.term, { context: 5 });
    const [reply, ...more] = node.answer(asked);
    assert.deepEqual(more, []);
    assert.equal(reply?.type, MessageType.readIndexReply);
    assert.equal(reply.index, node.status.commit);
    assert.equal(reply.context, 5);
  });

  test('has none before an entry of its term is committed, whatever the time', () => {
    const time = new Time();
    const node = new Node('1', { lease: time.lease(), settings: { preVote: false } });
    node.core.campaign();
    node.run();
    node.core.step(message(MessageType.voteReply, '2', '1', node.status.term));
    node.run();
    assert.equal(node.status.role, 'leader');
    time.ms += 1000;
    node.core.readIndex(1);
    node.run();
    assert.deepEqual(node.reads, []);
  });

  test('renews it by one empty entry for each half of it, and only where there are reads', () => {
    const time = new Time();
    const cluster = new Cluster([1, 2, 3].map(() => ({ lease: time.lease() })));
    time.ms += GUARD_MS;
    const leader = cluster.elect('1');
    const before = leader.status.lastIndex;
    time.ms += 900;
    cluster.tick(9);
    assert.equal(leader.status.lastIndex, before, 'nobody reads');
    for (let count = 0; count < 900; count++) {
      time.ms += 1;
      leader.core.readIndex(count);
      cluster.settle();
    }
    const renewals = leader.status.lastIndex - before;
    assert.ok(renewals >= 18 && renewals <= 20, `${renewals} entries in ten leases`);
    assert.equal(leader.reads.length, 900);
    const rounds = only(cluster.delivered, MessageType.heartbeat).filter(
      (sent) => sent.context > 0,
    );
    assert.ok(rounds.length < 60, 'only the first read took a round');
  });

  test('does not renew it where the disk has no room', () => {
    const time = new Time();
    const node = leading({ lease: time.lease({ mayRenew: () => false }) });
    const { lastIndex } = node.status;
    time.ms += 500;
    node.core.readIndex(1);
    node.run();
    assert.equal(node.status.lastIndex, lastIndex);
  });

  test('alone in its cluster reads as well', () => {
    const time = new Time();
    const node = new Node('1', { lease: time.lease(), voters: ['1'] });
    time.ms += GUARD_MS;
    node.core.campaign();
    node.run();
    node.core.readIndex(1);
    node.run();
    assert.equal(node.reads.length, 1);
  });
});

describe('a new leader', () => {
  /** Three nodes, 1 leads; then 1 is cut off and 2 leads. `between` passes from the last entry to that. */
  function takeover(time: Time, betweenMs: number): Cluster {
    const cluster = new Cluster([1, 2, 3].map(() => ({ lease: time.lease() })));
    time.ms += GUARD_MS;
    cluster.elect('1');
    cluster.propose('1', 'old');
    cluster.settle();
    time.ms += betweenMs;
    cluster.isolate('1');
    cluster.tick(10, ['2', '3']);
    for (let tries = 0; cluster.node('2').status.role !== 'leader'; tries++) {
      assert.ok(tries < 20);
      cluster.node('2').core.campaign();
      cluster.settle();
    }
    return cluster;
  }

  test('commits nothing of its term while the old one may hold a lease', () => {
    const time = new Time();
    const cluster = takeover(time, 10);
    const leader = cluster.node('2');
    const { commit } = leader.status;
    cluster.propose('2', 'new');
    cluster.settle();
    time.ms += GUARD_MS - 10 - 0.001;
    cluster.tick(1, ['2', '3']);
    assert.equal(leader.status.commit, commit);
    assert.ok(cluster.node('1').status.role === 'leader', 'the old one does not know');
    time.ms += 0.002;
    cluster.tick(1, ['2', '3']);
    assert.equal(leader.status.commit, leader.status.lastIndex);
    assert.deepEqual(cluster.node('3').applied.slice(-1), ['new']);
  });

  test('answers no read meanwhile, and all of them then', () => {
    const time = new Time();
    const cluster = takeover(time, 10);
    const leader = cluster.node('2');
    leader.core.readIndex(1);
    cluster.settle();
    assert.deepEqual(leader.reads, []);
    time.ms += GUARD_MS;
    cluster.tick(1, ['2', '3']);
    assert.equal(leader.reads.length, 1);
  });

  test('need not wait where the newest entry is old enough', () => {
    const time = new Time();
    const cluster = takeover(time, GUARD_MS);
    assert.equal(cluster.node('2').status.commit, cluster.node('2').status.lastIndex);
  });

  test('that restarted counts from its start: it cannot know when its log came', () => {
    const time = new Time();
    const node = new Node('1', {
      lease: time.lease(),
      logTerms: [1, 1],
      settings: { preVote: false },
    });
    time.ms += 5000;
    node.restart();
    time.ms += GUARD_MS - 1;
    node.core.campaign();
    node.run();
    const { term } = node.status;
    node.core.step(message(MessageType.voteReply, '2', '1', term));
    node.run();
    node.core.step(message(MessageType.appendReply, '2', '1', term, { index: 3 }));
    node.run();
    assert.equal(node.status.commit, 0);
    time.ms += 1;
    node.core.tick();
    assert.equal(node.status.commit, 3);
  });

  test('counts a snapshot like entries', () => {
    const time = new Time();
    const node = new Node('1', { lease: time.lease(), settings: { preVote: false } });
    time.ms += 5000;
    node.answer(message(MessageType.snapshot, '2', '1', 1, { index: 9, logTerm: 1 }));
    node.finishInstall();
    node.run();
    node.tick(20);
    node.run();
    node.core.campaign();
    node.run();
    const { term } = node.status;
    node.core.step(message(MessageType.voteReply, '3', '1', term));
    node.run();
    assert.equal(node.status.role, 'leader');
    node.core.step(message(MessageType.appendReply, '3', '1', term, { index: 10 }));
    node.run();
    assert.equal(node.status.commit, 9);
    time.ms += GUARD_MS;
    node.core.tick();
    assert.equal(node.status.commit, 10);
  });
});

describe('a hand-over', () => {
  function cluster(time: Time): Cluster {
    const three = new Cluster([1, 2, 3].map(() => ({ lease: time.lease() })));
    time.ms += GUARD_MS;
    three.elect('1');
    three.propose('1', 'x');
    three.settle();
    return three;
  }

  test('ends the lease at once, and the new leader need not wait', () => {
    const time = new Time();
    const three = cluster(time);
    const [old, next] = [three.node('1'), three.node('2')];
    assert.ok(old.core.transferLeadership('2'));
    old.core.readIndex(1);
    assert.deepEqual(old.reads, [], 'it asks the others');
    three.settle();
    assert.equal(next.status.role, 'leader');
    assert.equal(next.status.commit, next.status.lastIndex, 'in the same millisecond');
  });

  test('that failed leaves no lease on what came before it', () => {
    const time = new Time();
    const three = cluster(time);
    const old = three.node('1');
    three.cut.add('1>2');
    old.core.transferLeadership('2');
    three.tick(10, ['1']);
    assert.equal(old.status.role, 'leader');
    three.cut.add('1>3');
    old.core.readIndex(1);
    three.settle();
    assert.deepEqual(old.reads, [], 'what it gave up may be heard at any time');
    three.cut.clear();
    three.tick(1, ['1']);
    three.propose('1', 'y');
    three.settle();
    old.reads = [];
    three.isolate('1');
    old.core.readIndex(2);
    three.settle();
    assert.equal(old.reads.length, 1, 'a later entry carries one again');
  });

  test('leaves none on what was under way either', () => {
    const time = new Time();
    const node = withLease(time);
    node.isStalled = true;
    node.core.propose([bytes('y')]);
    node.run();
    const { lastIndex, term } = node.status;
    node.core.step(message(MessageType.appendReply, '2', '1', term, { index: lastIndex }));
    node.core.transferLeadership('2');
    assert.equal(only(node.run(), MessageType.timeoutNow)[0]?.index, lastIndex);
    node.isStalled = false;
    node.completeWrites();
    node.run();
    assert.equal(node.status.commit, lastIndex);
    node.tick(10);
    node.run();
    node.core.readIndex(1);
    assert.equal(only(node.run(), MessageType.heartbeat).length, 2, 'it asks the others');
  });

  test('that is heard late waives nothing that came after it', () => {
    const time = new Time();
    const three = cluster(time);
    const [old, next] = [three.node('1'), three.node('2')];
    const index = old.status.lastIndex;
    three.propose('1', 'after it');
    three.settle();
    next.core.step(message(MessageType.timeoutNow, '1', '2', old.status.term, { index }));
    three.settle();
    assert.equal(next.status.role, 'leader');
    assert.equal(next.status.commit, index + 1);
    time.ms += GUARD_MS;
    three.tick(1, ['2', '3']);
    assert.equal(next.status.commit, next.status.lastIndex);
  });

  test('by a leader without a commit of its own waives nothing', () => {
    const time = new Time();
    const node = new Node('1', {
      lease: time.lease(),
      logTerms: [1],
      settings: { preVote: false },
    });
    node.core.campaign();
    node.run();
    const { term } = node.status;
    node.core.step(message(MessageType.voteReply, '2', '1', term));
    node.run();
    node.core.step(message(MessageType.appendReply, '2', '1', term, { index: 2 }));
    node.run();
    assert.equal(node.status.commit, 0, 'it guards');
    node.core.transferLeadership('2');
    const [request] = only(node.run(), MessageType.timeoutNow);
    assert.equal(request?.index, 0);
  });
});

test('bad lease options are refused by name', () => {
  const time = new Time();
  const open = (fields: Partial<LeaseOptions>) => () =>
    new Node('1', { lease: time.lease(fields) });
  assert.throws(open({ durationMs: 0 }), /duration.*0 ms/);
  assert.throws(open({ maxClockDrift: 1 }), /maxClockDrift.*1/);
  assert.throws(open({ maxClockDrift: Number.NaN }), /maxClockDrift.*NaN/);
});
