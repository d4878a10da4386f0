/**
 * Bugs that others had, or that the papers warn of, each as one change to our sources. `npm run mutants`
 * puts them in, one at a time, and has the simulator find them: evidence that it would have found ours.
 *
 * To add one: a text that occurs once in the file (whole lines, with what is around where they are
 * common), and what takes its place. The code must still run: the simulator is to find it, not Node.
 */

export interface Mutant {
  /** Short, stable, in kebab-case. */
  readonly id: string;
  /** What the code does wrong now, in a sentence. */
  readonly bug: string;
  /** Who had it, or who says why not. */
  readonly source: string;
  readonly file: string;
  /** Occurs once in the file. */
  readonly find: string;
  readonly replace: string;
  readonly consensus: 'raft' | 'paxos' | 'both';
}

const RAFT = 'src/consensus/raft';
const WAL = 'src/consensus/wal';

const raftMutants: readonly Mutant[] = [
  {
    id: 'commit-of-older-term-by-count',
    bug: 'a leader commits an entry of an older term because a majority holds it',
    source: 'Raft §5.4.2, figure 8; logcabin#44',
    file: `${RAFT}/leadership.ts`,
    find: 'if (index <= before || this.#log.termAt(index) !== this.#term) return;',
    replace: 'if (index <= before) return;',
    consensus: 'raft',
  },
  {
    id: 'quorum-of-unsorted-progress',
    bug: 'the majority is taken from a list that is not sorted in full',
    source: 'openraft#1802',
    file: `${RAFT}/quorum.ts`,
    find: 'for (let at = 1; at < count; at++) {',
    replace: 'for (let at = 2; at < count; at++) {',
    consensus: 'raft',
  },
  {
    id: 'leader-counts-itself-before-its-disk',
    bug: 'a leader counts its own log in before that is on its disk',
    source: 'thesis §10.2.1; yugabyte-db#32875',
    file: `${RAFT}/leadership.ts`,
    find: 'this.#replication.matchedByQuorum(this.#durability.durableIndex)',
    replace: 'this.#replication.matchedByQuorum(this.#log.lastIndex)',
    consensus: 'raft',
  },
  {
    id: 'vote-before-persist',
    bug: 'a vote is sent before it is on the disk',
    source: 'Raft figure 2; NodeDB#161; sofa-jraft bugs 1 and 2',
    file: `${RAFT}/outbox.ts`,
    find: 'this.#queue(message, this.#durability.dependency(0));',
    replace: 'this.#queue(message, 0);',
    consensus: 'raft',
  },
  {
    id: 'acknowledged-before-persist',
    bug: 'entries are acknowledged when they are in memory',
    source: 'Raft figure 2; yugabyte-db#32875',
    file: `${RAFT}/outbox.ts`,
    find: 'this.#queue(message, this.#durability.dependency(index));',
    replace: 'this.#queue(message, this.#durability.dependency(0));',
    consensus: 'raft',
  },
  {
    id: 'acknowledges-its-whole-log',
    bug: 'a follower acknowledges up to the end of its log, and not of what was compared',
    source: 'CCF#5325',
    file: `${RAFT}/receiver.ts`,
    find: 'this.acknowledge(append.from, lastNew, append.term);',
    replace: 'this.acknowledge(append.from, log.lastIndex, append.term);',
    consensus: 'raft',
  },
  {
    id: 'commits-beyond-last-new-entry',
    bug: 'a follower commits entries of its own that the leader did not confirm',
    source: 'Raft figure 2, AppendEntries rule 5',
    file: `${RAFT}/receiver.ts`,
    find: 'log.commitTo(Math.min(append.commit, lastNew));',
    replace: 'log.commitTo(Math.min(append.commit, log.lastIndex));',
    consensus: 'raft',
  },
  {
    id: 'heartbeat-tells-every-commit',
    bug: 'a heartbeat tells a follower of commits that it may not hold',
    source: 'etcd#10166: tocommit out of range',
    file: `${RAFT}/replication.ts`,
    find: 'heartbeat.commit = Math.min(peer.match, this.#log.commit);',
    replace: 'heartbeat.commit = this.#log.commit;',
    consensus: 'raft',
  },
  {
    id: 'read-before-first-commit',
    bug: 'a new leader answers reads before it knows what is committed',
    source: 'Raft §8; etcd#7331',
    file: `${RAFT}/raft.ts`,
    find: 'return this.#reads.isRoundDue && this.#leadership.hasCommitted;',
    replace: 'return this.#reads.isRoundDue;',
    consensus: 'raft',
  },
  {
    id: 'late-heartbeat-reply-confirms-read',
    bug: 'an answer to a heartbeat from before the read confirms the read',
    source: 'etcd#20418, etcd-io/raft#397',
    file: `${RAFT}/replication.ts`,
    find: 'if (reply.context > peer.readRound) peer.readRound = reply.context;',
    replace: 'peer.readRound = Number.MAX_SAFE_INTEGER;',
    consensus: 'raft',
  },
  {
    id: 'read-without-majority',
    bug: 'a leader answers reads without asking whether it still leads',
    source: 'etcd#741',
    file: `${RAFT}/reads.ts`,
    find: 'this.#rounds.complete(this.#replication.readByMajority(this.#rounds.newest))',
    replace: 'this.#rounds.complete(this.#rounds.newest)',
    consensus: 'raft',
  },
  {
    id: 'write-completes-after-its-entries-were-cut',
    bug: 'a write that completes late vouches for entries that took the place of those it wrote (ABA)',
    source: 'etcd#1690; cockroach#124440',
    file: `${RAFT}/durability.ts`,
    find: '      write.lastIndex = index;',
    replace: '      if (write.lastIndex < index) write.lastIndex = index;',
    consensus: 'raft',
  },
  {
    id: 'second-vote-in-a-term',
    bug: 'a node that voted votes for another candidate of the same term',
    source: 'Raft §5.2',
    file: `${RAFT}/elections.ts`,
    find: '(vote === NO_NODE && leader === NO_NODE) ||',
    replace: 'leader === NO_NODE ||',
    consensus: 'raft',
  },
  {
    id: 'vote-by-length-of-log',
    bug: 'the longer log wins, whatever the terms of its last entry',
    source: 'Raft §5.4.1',
    file: `${RAFT}/log.ts`,
    find: 'return term > lastTerm || (term === lastTerm && index >= this.lastIndex);',
    replace: 'return term > 0 ? index >= this.lastIndex : lastTerm === 0;',
    consensus: 'raft',
  },
  {
    id: 'append-without-consistency-check',
    bug: 'a follower appends without comparing the term of the entry before',
    source: 'Raft §5.3',
    file: `${RAFT}/log.ts`,
    find: 'return this.termAt(index) === term;',
    replace: 'return term >= 0;',
    consensus: 'raft',
  },
  {
    id: 'purged-leader-sends-no-snapshot',
    bug: 'a leader that no longer holds the one entry a follower needs sends no snapshot',
    source: 'openraft afd6508b',
    file: `${RAFT}/replication.ts`,
    find: 'if (peer.next <= this.#log.offset) {',
    replace: 'if (peer.next < this.#log.offset) {',
    consensus: 'raft',
  },
  {
    id: 'old-snapshot-accepted',
    bug: 'a snapshot from before what is committed is installed',
    source: 'openraft ac3e5a89',
    file: `${RAFT}/receiver.ts`,
    find: 'if (index <= log.commit || log.matches(index, logTerm)) {',
    replace: 'if (log.matches(index, logTerm)) {',
    consensus: 'raft',
  },
  {
    id: 'vote-not-written',
    bug: 'the term is written, and the vote in it is not',
    source: 'braft CA-4; hashicorp/raft analysis',
    file: `${RAFT}/standing.ts`,
    find: '{ term: this.term, vote: this.vote, commit }',
    replace: '{ term: this.term, vote: NO_NODE, commit }',
    consensus: 'raft',
  },
];

const diskMutants: readonly Mutant[] = [
  {
    id: 'log-not-synced',
    bug: 'what was written to the log counts as durable before it is synced',
    source: 'braft CA-5; sofa-jraft bug 3',
    file: `${WAL}/log-writer.ts`,
    find: 'return file.writeDurably(data, offset);',
    replace: 'return file.write(data, offset);',
    consensus: 'both',
  },
  {
    id: 'snapshot-renamed-before-sync',
    bug: 'a snapshot gets its name before its content is on the disk',
    source: 'dragonboat#409; etcd: TestSaveSnapWithDirSync',
    file: `${WAL}/snapshot-file.ts`,
    find: 'await this.#append(footer);\n    await this.#flush();\n    await this.#file.sync();',
    replace: 'await this.#append(footer);\n    await this.#flush();',
    consensus: 'both',
  },
  {
    id: 'folder-not-synced-after-new-segment',
    bug: 'the name of a new segment of the log may be lost, and with it what was acknowledged in it',
    source: 'etcd: snap_db_dirsync_test.go; ALICE (Pillai et al. 2014)',
    file: `${WAL}/log-writer.ts`,
    find: 'await disk.rename(file.path, path);\n      await disk.syncFolder(folder);',
    replace: 'await disk.rename(file.path, path);',
    consensus: 'both',
  },
];

export const mutants: readonly Mutant[] = [...raftMutants, ...diskMutants];
