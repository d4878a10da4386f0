/** 6.5840, part 3B: what is agreed on, by whom, and at what price. */
import assert from 'node:assert/strict';
import type { CoreCluster, Seat } from './core-cluster.ts';
import { ELECTION_MS } from './core-cluster.ts';
import { onEveryCore } from './support.ts';

function others(cluster: CoreCluster, seat: Seat): Seat[] {
  return cluster.seats.filter((other) => other !== seat);
}

onEveryCore('3B basic agreement: one place after the other', { nodes: 3 }, (cluster) => {
  cluster.checkOneLeader();
  const first = cluster.one('1', 3, false);
  for (let count = 1; count < 4; count++) {
    assert.equal(cluster.appliedBy(first + count), 0, 'nothing is applied before it is proposed');
    assert.equal(cluster.one(`${count + 1}`, 3, false), first + count);
  }
});

onEveryCore('3B RPC bytes: a command goes to each peer once', { nodes: 3 }, (cluster) => {
  cluster.checkOneLeader();
  cluster.one('99', 3, false);
  const before = cluster.bytesSent;
  let sent = 0;
  for (let count = 0; count < 10; count++) {
    const command = `${count}`.repeat(5000);
    cluster.one(command, 3, false);
    sent += command.length;
  }
  const bytes = cluster.bytesSent - before;
  assert.ok(bytes >= 2 * sent && bytes <= 2 * sent + 50_000, `${bytes} bytes for ${sent}`);
});

onEveryCore('3B failure of followers, one after the other', { nodes: 3 }, (cluster) => {
  cluster.one('101', 3, false);
  const first = cluster.checkOneLeader();
  cluster.disconnect(cluster.seat(cluster.seats.indexOf(first) + 1));
  cluster.one('102', 2, false);
  cluster.wait(ELECTION_MS);
  cluster.one('103', 2, false);

  const second = cluster.checkOneLeader();
  cluster.disconnect(...others(cluster, second));
  const index = cluster.propose(second, '104');
  assert.ok(index !== undefined, 'a leader that knows of nothing takes a proposal');
  cluster.wait(2 * ELECTION_MS);
  assert.equal(cluster.appliedBy(index), 0, 'and commits nothing alone');
});

onEveryCore('3B failure of leaders, one after the other', { nodes: 3 }, (cluster) => {
  cluster.one('101', 3, false);
  const first = cluster.checkOneLeader();
  cluster.disconnect(first);
  cluster.one('102', 2, false);
  cluster.wait(ELECTION_MS);
  cluster.one('103', 2, false);

  const second = cluster.checkOneLeader();
  cluster.disconnect(second);
  const before = cluster.chosen.length;
  for (const seat of cluster.seats) cluster.propose(seat, '104');
  cluster.wait(2 * ELECTION_MS);
  assert.equal(cluster.chosen.length, before, 'no majority, no agreement');
});

onEveryCore('3B fail to agree, reconnect, agree', { nodes: 3 }, (cluster) => {
  cluster.one('101', 3, false);
  const leader = cluster.checkOneLeader();
  const away = cluster.seat(cluster.seats.indexOf(leader) + 1);
  cluster.disconnect(away);
  for (const text of ['102', '103']) cluster.one(text, 2, false);
  cluster.wait(ELECTION_MS);
  for (const text of ['104', '105']) cluster.one(text, 2, false);
  cluster.connect(away);
  cluster.one('106', 3, true);
  cluster.wait(ELECTION_MS);
  cluster.one('107', 3, true);
});

onEveryCore('3B no agreement without a majority', { nodes: 5 }, (cluster) => {
  cluster.one('10', 5, false);
  const leader = cluster.checkOneLeader();
  const at = cluster.seats.indexOf(leader);
  const away = [1, 2, 3].map((step) => cluster.seat(at + step));
  cluster.disconnect(...away);
  const index = cluster.propose(leader, '20');
  assert.ok(index !== undefined);
  cluster.wait(2 * ELECTION_MS);
  assert.equal(cluster.appliedBy(index), 0);
  cluster.connect(...away);
  // The majority may have gone on without it, or the old leader may have prevailed.
  const second = cluster.checkOneLeader();
  const next = cluster.propose(second, '30');
  assert.ok(next !== undefined && next >= index);
  cluster.one('1000', 5, true);
});

onEveryCore('3B concurrent starts: all in places of their own', { nodes: 3 }, (cluster) => {
  const leader = cluster.checkOneLeader();
  const texts = Array.from({ length: 20 }, (_, count) => `c${count}`);
  const indexes = texts.map((text) => cluster.propose(leader, text)!);
  assert.equal(new Set(indexes).size, texts.length);
  cluster.until('all are applied', () => cluster.appliedBy(Math.max(...indexes)) === 3);
  for (const [at, text] of texts.entries()) assert.equal(cluster.chosen[indexes[at]!], text);
});

onEveryCore('3B rejoin of a partitioned leader', { nodes: 3, seeds: 5 }, (cluster) => {
  cluster.one('101', 3, true);
  const first = cluster.checkOneLeader();
  cluster.disconnect(first);
  for (const text of ['102', '103', '104']) cluster.propose(first, text);
  cluster.one('103', 2, true);

  const second = cluster.checkOneLeader();
  cluster.disconnect(second);
  cluster.connect(first);
  cluster.one('104', 2, true);
  cluster.connect(second);
  cluster.one('105', 3, true);
});

onEveryCore('3B backup over incorrect logs, quickly', { nodes: 5, seeds: 2 }, (cluster) => {
  const many = (seat: Seat): void => {
    for (let count = 0; count < 50; count++) cluster.propose(seat, `${cluster.random.below(1e9)}`);
  };
  cluster.one('first', 5, true);
  // A leader and one follower with much that is never agreed on.
  const first = cluster.checkOneLeader();
  const at = cluster.seats.indexOf(first);
  const rest = [2, 3, 4].map((step) => cluster.seat(at + step));
  cluster.disconnect(...rest);
  many(first);
  cluster.wait(ELECTION_MS / 20);
  cluster.disconnect(first, cluster.seat(at + 1));
  cluster.connect(...rest);
  // The other three agree on much.
  for (let count = 0; count < 50; count++) cluster.one(`a${count}`, 3, true);
  // Then a leader among them, with one of them gone, collects what is never agreed on.
  const second = cluster.checkOneLeader();
  const gone = rest.find((seat) => seat !== second)!;
  cluster.disconnect(gone);
  many(second);
  cluster.wait(ELECTION_MS / 20);
  // Back come the first two and the one that was gone.
  cluster.disconnect(...cluster.seats);
  const back = [first, cluster.seat(at + 1), gone];
  cluster.connect(...back);
  const before = cluster.messagesSent;
  const beganMs = cluster.nowMs;
  for (let count = 0; count < 50; count++) cluster.one(`b${count}`, 3, true);
  const heartbeats = ((cluster.nowMs - beganMs) / 10) * 8;
  assert.ok(cluster.messagesSent - before < heartbeats + 1000, 'not one entry at a time');
  cluster.connect(...cluster.seats);
  cluster.one('last', 5, true);
});

onEveryCore('3B RPC counts: few messages to agree, few while idle', { nodes: 3 }, (cluster) => {
  cluster.one('1', 3, false);
  const leader = cluster.checkOneLeader();
  const idle = (ms: number): number => Math.ceil(ms / 10 + 1) * 4;
  const countOf = (run: () => number): number => {
    const before = cluster.messagesSent;
    const beganMs = cluster.nowMs;
    const index = run();
    cluster.until('all are applied', () => cluster.appliedBy(index) === 3);
    return cluster.messagesSent - before - idle(cluster.nowMs - beganMs);
  };
  const texts = Array.from({ length: 10 }, (_, count) => `x${count}`);
  // To each of two peers: the entry, its reply, the news of the commit, its reply.
  const single = countOf(() => Math.max(...texts.map((text) => cluster.propose(leader, text)!)));
  assert.ok(single <= 8 * texts.length, `${single} messages for 10 commands one by one`);
  const together = countOf(() => cluster.propose(leader, ...texts)! + texts.length - 1);
  assert.ok(together <= 8, `${together} messages for 10 commands at once`);
  const quiet = countOf(() => {
    cluster.wait(ELECTION_MS);
    return 1;
  });
  assert.ok(quiet <= 0, `${quiet} messages more than heartbeats in an idle second`);
});
