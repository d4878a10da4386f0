/**
 * What must hold at every moment of a simulation, whatever the core: nothing that was promised, committed
 * or applied is taken back, one leader a term, persist before promise, and all nodes apply the same. What
 * makes it so is each core's own, and its properties extend these.
 */
import assert from 'node:assert/strict';
import type { Core, CoreStatus } from './core.ts';
import { MessageType, type PeerMessage } from './messages.ts';
import { type Disk, type SimulatedNode, textOf } from './test-core-node.ts';
import type { Entry, NodeId, Persist } from './types.ts';

interface Committed {
  /** Of the newest entry so far that has one. */
  readonly term: number;
  readonly text: string;
  readonly hash: number;
}

export abstract class CoreProperties<D extends Disk> {
  // What every node that ever lived must agree on.
  readonly leaders: Map<number, NodeId>;
  readonly committed: Committed[];
  maxCommit: number;

  constructor() {
    this.leaders = new Map();
    this.committed = [{ term: 0, text: '', hash: 0 }];
    this.maxCommit = 0;
  }

  check(node: SimulatedNode<D>): void {
    const { core } = node;
    if (core === undefined) return;
    const status = core.status();
    const { role, term, commit, lastIndex, firstIndex, handedOut } = status;
    assert.ok(term >= node.lastTerm, 'terms never fall');
    assert.ok(commit >= node.lastCommit, 'the commit index never falls');
    assert.ok(firstIndex - 1 <= handedOut && handedOut <= commit && commit <= lastIndex);
    if (role === 'leader') {
      const known = this.leaders.get(term);
      assert.equal(known ?? node.id, node.id, 'election safety: one leader a term');
      if (known === undefined) this.checkElected(core, status);
      this.leaders.set(term, node.id);
    }
    this.checkCommit(node, core, status);
    node.lastTerm = term;
    node.lastCommit = commit;
    if (commit > this.maxCommit) this.maxCommit = commit;
  }

  /** A leader is seen for the first time in its term. */
  protected checkElected(_core: Core, _status: CoreStatus): void {
    // What a leader must know is each core's own.
  }

  /** A commit index is seen; `lastCommit` of the node and `maxCommit` are those before. */
  protected abstract checkCommit(node: SimulatedNode<D>, core: Core, status: CoreStatus): void;

  /** A core was opened with what is on the disk. */
  checkStarted({ core, disk }: SimulatedNode<D>): void {
    const { term } = core!.status();
    assert.ok(term >= disk.hardState.term, 'a term survives a restart');
    // Also where the entries of a write are there and its term is lost: the node had entered it.
    for (const entry of disk.readEntries())
      assert.ok(term >= entry.term, 'no entry is of a term to come');
  }

  /** A core wants `write` to be made durable. */
  checkWrite(node: SimulatedNode<D>, write: Persist): void {
    if (write.hardState === undefined) return;
    assert.equal(write.hardState.term, node.core!.status().term, 'the newest term is written');
  }

  /** A write reaches the disk, which is as before it still. */
  checkWritten({ disk }: SimulatedNode<D>, { hardState }: Persist): void {
    if (hardState === undefined) return;
    assert.ok(hardState.term >= disk.hardState.term, 'a durable term is never taken back');
  }

  /** A message leaves: persist before promise. */
  checkSent(node: SimulatedNode<D>, message: PeerMessage): void {
    if (this.isFree(message)) return;
    const { term } = node.disk.hardState;
    assert.ok(message.term <= term, 'no message of a term that is not durable');
    this.checkPromise(node, message);
  }

  /** It promises nothing in its term: to ask whether an election could be won enters none. */
  protected isFree({ type, reject }: PeerMessage): boolean {
    return type === MessageType.preVote || (type === MessageType.preVoteReply && !reject);
  }

  protected abstract checkPromise(node: SimulatedNode<D>, message: PeerMessage): void;

  /** A node has applied `entry`, which brought it to the state `hash`. */
  checkApplied(entry: Entry, hash: number): void {
    const known = this.committed[entry.index];
    const text = textOf(entry);
    if (known !== undefined) {
      assert.equal(text, known.text, 'state machine safety: all nodes apply the same');
      assert.equal(hash, known.hash, 'state machine safety: all nodes reach the same state');
      return;
    }
    assert.equal(entry.index, this.committed.length, 'commits have no gaps');
    const before = this.committed.at(-1)!.term;
    // What fills a gap of Paxos has no term.
    assert.ok(entry.term === 0 || entry.term >= before, 'terms never fall along what is committed');
    this.committed.push({ term: Math.max(before, entry.term), text, hash });
  }
}
