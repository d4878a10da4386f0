/** Lamport's rules one by one, then the list of the Paxos lab, then random runs: one value, for ever. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Random, seededRandom } from '../../core/random.ts';
import {
  type AcceptorState,
  answerAsAcceptor,
  backOff,
  Learner,
  newAcceptor,
  type PaxosReply,
  type PaxosRequest,
  Proposer,
} from './single-decree.ts';

type Message =
  | { readonly to: number; readonly from: number; readonly request: PaxosRequest<string> }
  | { readonly to: number; readonly from: number; readonly reply: PaxosReply<string> };

/** Acceptors with disks, proposers on top of some of them, learners everywhere, and the wire between. */
class Lab {
  readonly random: Random;
  readonly nodes: number;
  readonly acceptors: AcceptorState<string>[];
  readonly proposers: Proposer<string>[];
  readonly learners: Learner<string>[];
  readonly down = new Set<number>();
  wire: Message[] = [];
  /** By ballot: the value proposed in it. */
  readonly proposed = new Map<number, string>();
  /** By ballot: who accepted in it. */
  readonly votes = new Map<number, Set<number>>();
  chosen: string | undefined;

  constructor(nodes: number, seed = 1, value = (node: number): string => `value ${node}`) {
    this.random = seededRandom(seed);
    this.nodes = nodes;
    this.acceptors = Array.from({ length: nodes }, () => newAcceptor);
    this.proposers = this.acceptors.map(
      (_, node) => new Proposer({ node, nodes, value: value(node) }),
    );
    this.learners = this.acceptors.map(() => new Learner(nodes));
  }

  propose(node: number): void {
    this.broadcast(node, this.proposers[node]!.prepare());
  }

  broadcast(from: number, request: PaxosRequest<string>): void {
    if (request.kind === 'accept') {
      const before = this.proposed.get(request.ballot);
      assert.ok(before === undefined || before === request.value, 'one value a ballot');
      this.proposed.set(request.ballot, request.value);
      if (this.chosen !== undefined) {
        assert.equal(request.value, this.chosen, 'P2b: once chosen, nothing else is proposed');
      }
    }
    for (let to = 0; to < this.nodes; to++) this.wire.push({ from, to, request });
  }

  deliver(message: Message): void {
    const { from, to } = message;
    if (this.down.has(to)) return;
    if ('reply' in message) {
      this.learners[to]!.receive(from, message.reply);
      const next = this.proposers[to]!.receive(from, message.reply);
      if (next !== undefined) this.broadcast(to, next);
      return;
    }
    const { state, reply } = answerAsAcceptor(this.acceptors[to]!, message.request);
    assert.ok(state.promised >= this.acceptors[to]!.promised, 'promises only rise');
    this.acceptors[to] = state;
    if (reply.kind === 'accepted') {
      this.#count(to, reply.ballot, reply.value);
      for (let each = 0; each < this.nodes; each++) this.wire.push({ from: to, to: each, reply });
    } else this.wire.push({ from: to, to: from, reply });
  }

  #count(acceptor: number, ballot: number, value: string): void {
    const votes = this.votes.get(ballot) ?? new Set();
    this.votes.set(ballot, votes.add(acceptor));
    if (votes.size <= this.nodes / 2) return;
    assert.ok(this.chosen === undefined || this.chosen === value, 'the chosen value never changes');
    this.chosen = value;
  }

  /** Delivers all there is, in order. */
  settle(): void {
    for (let next = this.wire.shift(); next !== undefined; next = this.wire.shift()) {
      this.deliver(next);
    }
  }

  /** A crash: acceptors keep their state, proposers start over from what the acceptor promised. */
  restart(node: number): void {
    this.proposers[node] = new Proposer({
      node,
      nodes: this.nodes,
      value: `later ${node}`,
      newestBallot: this.acceptors[node]!.promised,
    });
    this.learners[node] = new Learner(this.nodes);
  }
}

test('P1: an acceptor accepts the first proposal that it receives', () => {
  const { state, reply } = answerAsAcceptor<string>(newAcceptor, {
    kind: 'accept',
    ballot: 3,
    value: 'x',
  });
  assert.deepEqual(reply, { kind: 'accepted', ballot: 3, value: 'x' });
  assert.deepEqual(state, { promised: 3, accepted: { ballot: 3, value: 'x' } });
});

test('phase 1b: a promise tells the newest acceptance, and older ballots are refused from then on', () => {
  const accepted = { ballot: 3, value: 'x' };
  const { state, reply } = answerAsAcceptor<string>(
    { promised: 3, accepted },
    { kind: 'prepare', ballot: 7 },
  );
  assert.deepEqual(reply, { kind: 'promise', ballot: 7, accepted });
  for (const request of [
    { kind: 'prepare', ballot: 5 } as const,
    { kind: 'accept', ballot: 5, value: 'y' } as const,
  ]) {
    assert.deepEqual(answerAsAcceptor(state, request), {
      state,
      reply: { kind: 'refused', ballot: 5, promised: 7 },
    });
  }
});

test('a request that arrives twice is answered alike', () => {
  for (const request of [
    { kind: 'prepare', ballot: 4 } as const,
    { kind: 'accept', ballot: 4, value: 'x' } as const,
  ]) {
    const first = answerAsAcceptor<string>(newAcceptor, request);
    assert.deepEqual(answerAsAcceptor(first.state, request), first);
  }
});

test('P2c: a proposer takes the value of the newest ballot that a majority reports, not its own', () => {
  const proposer = new Proposer({ node: 0, nodes: 5, value: 'own', newestBallot: 20 });
  const { ballot } = proposer.prepare();
  const promise = (accepted: { ballot: number; value: string } | undefined) =>
    ({ kind: 'promise', ballot, accepted }) as const;
  assert.equal(proposer.receive(1, promise({ ballot: 11, value: 'newer' })), undefined);
  assert.equal(proposer.receive(2, promise({ ballot: 7, value: 'older' })), undefined);
  assert.deepEqual(proposer.receive(3, promise(undefined)), {
    kind: 'accept',
    ballot,
    value: 'newer',
  });
  // Too late: the ballot has its value.
  assert.equal(proposer.receive(4, promise({ ballot: 12, value: 'late' })), undefined);
});

test('the same acceptor counts once, and answers to an earlier ballot count for nothing', () => {
  const proposer = new Proposer({ node: 1, nodes: 3, value: 'x' });
  const first = proposer.prepare().ballot;
  const { ballot } = proposer.prepare();
  assert.ok(ballot > first);
  const promise = { kind: 'promise', ballot, accepted: undefined } as const;
  assert.equal(proposer.receive(0, promise), undefined);
  assert.equal(proposer.receive(0, promise), undefined);
  assert.equal(proposer.receive(2, { ...promise, ballot: first }), undefined);
  assert.equal(proposer.receive(1, promise)?.kind, 'accept');
});

test('ballots of different nodes differ, and a restarted node goes on above what it had promised', () => {
  const ballots = [0, 1, 2].map((node) => new Proposer({ node, nodes: 3, value: '' }).prepare());
  assert.equal(new Set(ballots.map(({ ballot }) => ballot)).size, 3);
  const again = new Proposer({ node: 1, nodes: 3, value: '', newestBallot: ballots[2]!.ballot });
  assert.ok(again.prepare().ballot > ballots[2]!.ballot);
});

test('basic: a single proposer gets its value chosen, and every learner learns it', () => {
  const lab = new Lab(3);
  lab.propose(0);
  lab.settle();
  assert.equal(lab.proposers[0]!.chosen?.value, 'value 0');
  for (const learner of lab.learners) assert.equal(learner.chosen?.value, 'value 0');
});

test('basic: many proposers, one value or many, choose one', () => {
  for (const value of [() => 'same', (node: number) => `value ${node}`]) {
    const lab = new Lab(5, 1, value);
    for (let node = 0; node < 5; node++) lab.propose(node);
    lab.settle();
    for (let node = 0; node < 5; node++) lab.propose(node);
    lab.settle();
    for (const learner of lab.learners) assert.equal(learner.chosen?.value, lab.chosen);
    assert.notEqual(lab.chosen, undefined);
  }
});

test('out of order: what comes late, or before its time, changes nothing', () => {
  const lab = new Lab(3);
  lab.propose(0);
  const late = lab.wire.splice(2, 1);
  lab.settle();
  lab.propose(2);
  lab.settle();
  lab.wire.push(...late);
  lab.settle();
  assert.equal(lab.chosen, 'value 0');
  assert.equal(lab.proposers[2]!.chosen?.value, 'value 0');
});

test('deaf: a proposer that hears nobody does not hinder the others, and learns the value when it hears again', () => {
  const lab = new Lab(5);
  lab.down.add(4);
  lab.propose(0);
  lab.settle();
  assert.equal(lab.chosen, 'value 0');
  lab.down.delete(4);
  lab.propose(4);
  lab.settle();
  assert.equal(lab.learners[4]!.chosen?.value, 'value 0');
});

test('a minority chooses nothing', () => {
  const lab = new Lab(5);
  for (const node of [2, 3, 4]) lab.down.add(node);
  for (let attempt = 0; attempt < 3; attempt++) lab.propose(0);
  lab.settle();
  assert.equal(lab.chosen, undefined);
  assert.equal(lab.proposers[0]!.chosen, undefined);
});

/** Two proposers, each of whose prepares comes just before the other's accepts. */
function duel(attempts: number, wait: (attempt: number, random: Random) => number): number {
  const lab = new Lab(3, 7);
  const due = [0, 0];
  const tries = [0, 0];
  for (let tick = 0; tick < attempts; tick++) {
    // A round trip takes two ticks: prepares in one, accepts in the next.
    const before = lab.wire;
    lab.wire = [];
    for (const node of [0, 1]) {
      if (tick < due[node]! || lab.proposers[node]!.chosen !== undefined) continue;
      tries[node]! += 1;
      due[node] = tick + 2 * wait(tries[node]!, lab.random) + node;
      lab.propose(node);
    }
    const prepares = lab.wire;
    lab.wire = [];
    for (const message of [...prepares, ...before]) lab.deliver(message);
    if (lab.chosen !== undefined) return tick;
  }
  return attempts;
}

test('duelling: without a back-off nothing is ever chosen, with it one wins soon', () => {
  assert.equal(
    duel(400, () => 0),
    400,
  );
  assert.ok(duel(400, backOff) < 100);
});

test('at random: loss, disorder, repetition and restarts; the chosen value never changes', () => {
  let chosen = 0;
  for (let seed = 1; seed <= 400; seed++) {
    const nodes = [3, 3, 4, 5][seed % 4]!;
    const lab = new Lab(nodes, seed);
    try {
      for (let step = 0; step < 600; step++) disturb(lab);
      // The day gets better: whoever proposes now gets, or learns, the value.
      lab.down.clear();
      for (let node = 0; node < nodes; node++) {
        lab.propose(node);
        lab.settle();
        lab.propose(node);
        lab.settle();
        assert.equal(lab.proposers[node]!.chosen?.value, lab.chosen);
      }
    } catch (error) {
      throw new Error(`seed ${seed}: ${String(error)}`, { cause: error });
    }
    if (lab.proposed.size > 5) chosen += 1;
  }
  assert.ok(chosen > 100, `${chosen} runs had more than five ballots with a value`);
});

function disturb(lab: Lab): void {
  const { random, nodes } = lab;
  const kind = random.below(100);
  const node = random.below(nodes);
  if (kind < 5) lab.propose(node);
  else if (kind < 7) lab.restart(node);
  else if (kind < 9) lab.down.has(node) ? lab.down.delete(node) : lab.down.add(node);
  else if (lab.wire.length > 0) {
    const at = random.below(lab.wire.length);
    const message = lab.wire[at]!;
    if (kind < 90) lab.wire.splice(at, 1);
    if (kind < 75 || kind >= 90) lab.deliver(message);
  }
  if (lab.wire.length > 200) lab.wire.splice(0, 100);
}
