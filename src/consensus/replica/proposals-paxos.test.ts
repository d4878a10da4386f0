/**
 * Proposals over Multi-Paxos: a newer leader proposes the same value again in its own ballot, or leaves it
 * out. Either way its proposer hears the truth, and nothing is applied twice.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seededRandom } from '../../core/random.ts';
import { MessageType, type PeerMessage } from '../messages.ts';
import { PaxosCore } from '../paxos/paxos.ts';
import { Proposals } from './proposals.ts';

const IDS = ['a', 'b', 'c'] as const;
type Id = (typeof IDS)[number];

interface Node {
  readonly core: PaxosCore;
  readonly proposals: Proposals<string>;
  /** What was applied, in order; `''` for entries that hold nothing. */
  readonly log: string[];
}

/** Three nodes whose disks are at once, and whose messages arrive or are lost as a test says. */
class Trio {
  readonly nodes: Readonly<Record<Id, Node>> = { a: open('a'), b: open('b'), c: open('c') };

  /** Delivers all that is sent until nothing is, but for what `isLost`. */
  settle(isLost: (message: PeerMessage) => boolean = () => false): void {
    for (let moved = true, rounds = 0; moved; rounds++) {
      assert.ok(rounds < 100, 'messages come to an end');
      moved = false;
      for (const id of IDS) {
        for (const message of this.#turn(this.nodes[id])) {
          moved = true;
          if (!isLost(message)) this.nodes[message.to as Id].core.step(message);
        }
      }
    }
  }

  #turn({ core, proposals, log }: Node): PeerMessage[] {
    const sent: PeerMessage[] = [];
    for (let takes = 0; core.hasEffects(); takes++) {
      assert.ok(takes < 100, 'effects come to an end');
      const { messages, messagesAfterPersist, persist, committed } = core.take();
      sent.push(...messages, ...messagesAfterPersist);
      if (persist !== undefined) core.persisted(persist.sequence);
      for (const { index, term, data } of committed) {
        log.push(Buffer.from(data).toString());
        proposals.applied(index, term, `${index}: ${log.at(-1)}`);
        core.applied(index);
      }
    }
    return sent;
  }

  lead(id: Id, isLost?: (message: PeerMessage) => boolean): void {
    this.nodes[id].core.campaign();
    this.settle(isLost);
    assert.equal(this.nodes[id].core.status().role, 'leader');
  }

  /** Proposes what waits on the leader `id`, together. */
  place(id: Id): void {
    const { core, proposals } = this.nodes[id];
    const batch = proposals.takeWaiting();
    const placed = core.propose(batch.map(({ data }) => data));
    assert.ok(typeof placed === 'object');
    batch.forEach((proposal, at) => {
      proposals.place(proposal, placed.index + at, placed.term);
    });
  }
}

function open(id: Id): Node {
  const core = new PaxosCore({
    id,
    random: seededRandom(1),
    hardState: { term: 0, vote: '', commit: 0 },
    configuration: { voters: [...IDS], learners: [] },
    snapshot: { index: 0, term: 0 },
    entries: [],
    applied: 0,
    settings: { preVote: false, checkQuorum: false },
  });
  return { core, proposals: new Proposals(0), log: [] };
}

const isAccept = ({ type }: PeerMessage): boolean => type === MessageType.accept;
const is = (message: PeerMessage, from: Id, to: Id): boolean =>
  message.from === from && message.to === to;

test('a value that a newer leader proposes again in its own ballot answers its proposer, once', async () => {
  const trio = new Trio();
  trio.lead('a');
  const { proposals, log } = trio.nodes.a;
  const answer = proposals.add(Buffer.from('mine'), 1000);
  trio.place('a');
  // Only b accepts, and nobody hears of it: not chosen, as far as anybody knows.
  trio.settle((message) => !(isAccept(message) && is(message, 'a', 'b')));
  assert.deepEqual([proposals.waitingCount, log.length], [0, 1]);
  // c finds it with b, and has it accepted in its own ballot.
  trio.lead('c', (message) => message.from === 'a' || message.to === 'a');
  assert.deepEqual(trio.nodes.c.log, ['', 'mine', '']);
  assert.equal(proposals.unsettled, 1);
  trio.nodes.c.core.tick();
  trio.settle();
  assert.equal(proposals.unsettled, 0);
  assert.equal(await answer, '2: mine');
  for (const id of IDS) assert.deepEqual(trio.nodes[id].log, ['', 'mine', '']);
});

test('a value that a newer leader did not hear of is proposed again, and never comes back from the old log', async () => {
  const trio = new Trio();
  trio.lead('a');
  const { proposals, log } = trio.nodes.a;
  const answer = proposals.add(Buffer.from('mine'), 1000);
  trio.place('a');
  trio.settle(() => true);
  trio.lead('c', (message) => message.from === 'a' || message.to === 'a');
  assert.deepEqual(trio.nodes.c.log, ['', '']);
  assert.equal(proposals.waitingCount, 0, 'its log may still win, as far as a knows');
  // a hears of c, and leads again before it hears of its value: the old acceptance is still in its log.
  trio.nodes.c.core.tick();
  trio.settle((message) => isAccept(message));
  assert.deepEqual([log, trio.nodes.a.core.status().lastIndex], [[''], 2]);
  trio.lead('a');
  assert.equal(proposals.waitingCount, 1);
  trio.place('a');
  trio.settle();
  trio.nodes.a.core.tick();
  trio.settle();
  assert.equal(proposals.unsettled, 0);
  assert.equal(await answer, `${log.indexOf('mine') + 1}: mine`);
  for (const id of IDS) assert.deepEqual(trio.nodes[id].log, ['', '', '', 'mine']);
});

test('of two proposals the one whose slot a newer leader fills is proposed again, the one behind it is not', async () => {
  const trio = new Trio();
  trio.lead('a');
  const { proposals, log } = trio.nodes.a;
  const first = proposals.add(Buffer.from('first'), 1000);
  trio.place('a');
  trio.settle(() => true);
  const second = proposals.add(Buffer.from('second'), 1000);
  trio.place('a');
  // b accepts the second without the first.
  const isSecond = (message: PeerMessage): boolean =>
    isAccept(message) && is(message, 'a', 'b') && message.index === 2;
  trio.settle((message) => !isSecond(message));
  trio.lead('c', (message) => message.from === 'a' || message.to === 'a');
  assert.deepEqual(trio.nodes.c.log, ['', '', 'second', '']);
  trio.nodes.c.core.tick();
  trio.settle();
  assert.deepEqual([proposals.waitingCount, proposals.unsettled], [1, 1]);
  assert.deepEqual(log, ['', '', 'second', '']);
  assert.equal(await second, '3: second');
  trio.lead('a');
  trio.place('a');
  trio.settle();
  assert.equal(proposals.unsettled, 0);
  assert.equal(await first, '6: first');
});
