/** Bugs above consensus: proposals, reads and snapshots of a replica, lost disks, leases and watches of the store. */
import type { Mutant } from './mutant.ts';

const REPLICA = 'src/consensus/replica';
const KV = 'src/kv';

const proposalMutants: readonly Mutant[] = [
  {
    id: 'answered-by-another-entry',
    bug: 'a proposer is told that its write is done when any entry is applied at its index',
    source: '6.5840 lab 4A: the term of the entry is not compared',
    file: `${REPLICA}/proposals.ts`,
    find: 'if (proposal.term === term) this.#settle(proposal, result);',
    replace: 'if (proposal.term > 0) this.#settle(proposal, result);',
    having: 'old-leader-returns',
    consensus: 'both',
    also: [
      {
        file: `${REPLICA}/proposals.ts`,
        find: 'if (index <= this.#appliedIndex) continue;',
        replace: 'if (index > 0) continue;',
      },
    ],
  },
  {
    id: 'forwarded-again-without-an-answer',
    bug: 'what was sent to a leader that did not answer is sent again',
    source: 'redisraft#52: duplicated operations',
    file: `${REPLICA}/submission.ts`,
    find: 'for (const proposal of batch) this.#proposals.reject(proposal, lostReply(leader, error));',
    replace: 'void error;\n      this.#proposals.putBack(batch);',
    consensus: 'both',
  },
  {
    id: 'proposed-again-after-a-snapshot',
    bug: 'what a snapshot may have applied is proposed again',
    source: 'redisraft#52: duplicated operations',
    file: `${REPLICA}/proposals.ts`,
    find: 'for (const each of withRivals(proposal)) this.#settleUnknown(each);',
    replace: 'this.putBack(withRivals(proposal));',
    having: 'snapshotEntries',
    consensus: 'both',
  },
  {
    id: 'proposed-again-by-a-late-answer',
    bug: 'a proposal whose place was applied before its place was known is proposed again',
    source: 'redisraft#52: duplicated operations',
    file: `${REPLICA}/proposals.ts`,
    find: 'else this.#settleUnknown(proposal);',
    replace: 'else this.putBack([proposal]);',
    consensus: 'both',
  },
  {
    id: 'proposed-again-at-every-change-of-leader',
    bug: 'what is in the log of a leader that lost its place is proposed again at once',
    source: 'Raft §5.4.2, figure 8: it may still be committed; redisraft#52',
    file: `${REPLICA}/proposals.ts`,
    find: '  /** Removes all waiting ones, to be placed, forwarded or put back. */',
    replace:
      '  again(): void {\n    for (const proposal of this.#placed.values()) this.putBack(withRivals(proposal));\n    this.#placed.clear();\n  }\n\n  /** Removes all waiting ones, to be placed, forwarded or put back. */',
    consensus: 'both',
    also: [
      {
        file: `${REPLICA}/replica.ts`,
        find: '      this.#leading = false;\n      this.#events.onLeading?.(false);\n    }\n    this.#events.onChange',
        replace:
          '      this.#leading = false;\n      this.#events.onLeading?.(false);\n      this.#proposals.again();\n    }\n    this.#events.onChange',
      },
    ],
  },
  {
    id: 'lost-answer-called-not-applied',
    bug: 'a write that may have been applied is reported as not applied',
    source: 'redisraft#52: lost operations; Jepsen: indeterminate results',
    file: `${REPLICA}/submission.ts`,
    find: "{ outcome: 'unknown', cause },",
    replace: "{ outcome: 'not-applied', cause },",
    consensus: 'both',
  },
];

const stateMutants: readonly Mutant[] = [
  {
    id: 'read-before-it-is-applied',
    bug: 'a read is answered before the state machine has applied its read index',
    source: 'Raft thesis §6.4',
    file: `${REPLICA}/reads.ts`,
    find: 'if (index <= applied) batch.resolve();',
    replace: 'if (index >= 0) batch.resolve();',
    consensus: 'both',
  },
  {
    id: 'snapshot-of-a-later-state',
    bug: 'a snapshot holds more than the entries up to its index, which are applied again after a restart',
    source: 'sofa-jraft#1195: applied twice; Raft §7',
    file: `${REPLICA}/snapshots.ts`,
    find: `    const chunks = this.#machine.snapshot()[Symbol.iterator]();
    // Now, before anything else is applied: a generator pins its state at its first step.
    const first = chunks.next();
    const writing = await this.#begin();
`,
    replace: `    let chunks: Iterator<Uint8Array> = [][Symbol.iterator]();
    const writing = await this.#begin();
`,
    having: 'snapshotEntries,writeMeanMs',
    consensus: 'both',
    also: [
      {
        file: `${REPLICA}/snapshots.ts`,
        find: 'for (let next = first; !next.done; next = chunks.next()) {',
        replace:
          'chunks = this.#machine.snapshot()[Symbol.iterator]();\n      for (let next = chunks.next(); !next.done; next = chunks.next()) {',
      },
    ],
  },
  {
    id: 'snapshot-not-pinned',
    bug: 'writes that come while a snapshot is written get into it',
    source: 'Raft §7: copy on write',
    file: `${KV}/revision-log.ts`,
    find: 'const end = index === segments.length - 1 ? lastCount : records.length;',
    replace: 'const end = Math.max(lastCount * 0, records.length);',
    having: 'snapshotEntries,writeMeanMs',
    consensus: 'both',
  },
  {
    id: 'snapshot-counts-before-the-state-is-there',
    bug: 'a snapshot moves the applied index on before the state machine holds it',
    source: 'NodeDB#162',
    file: `${REPLICA}/snapshots.ts`,
    find: '      await this.restore();\n    } finally {',
    replace: '      void this.restore();\n    } finally {',
    having: 'snapshotEntries,writeMeanMs',
    consensus: 'both',
  },
  {
    id: 'leases-keys-left-out-of-snapshots',
    bug: 'after a snapshot a node does not know which keys belong to a lease',
    source: 'Raft thesis §6.3: state that is left out of a snapshot',
    file: `${KV}/store.ts`,
    find: '      if (lease !== NO_LEASE) lessor.attach(lease, key);',
    replace: "      if (lease !== NO_LEASE && key === '') lessor.attach(lease, key);",
    consensus: 'both',
  },
  {
    id: 'compaction-left-out-of-snapshots',
    bug: 'after a snapshot a node believes that nothing was compacted',
    source: 'Raft thesis §6.3: state that is left out of a snapshot',
    file: `${KV}/mvcc.ts`,
    find: '    this.#compactRevision = compactRevision;\n',
    replace: '',
    consensus: 'both',
  },
  {
    id: 'applied-again-after-restart',
    bug: 'a node that starts from a snapshot applies the log from before it as well',
    source: 'sofa-jraft#1195: applied twice',
    file: 'src/consensus/open-replica.ts',
    find: '    applied: snapshot?.index ?? 0,',
    replace: '    applied: 0,',
    consensus: 'both',
    also: [
      {
        file: 'src/consensus/raft/log.ts',
        find: 'this.handedOut = Math.max(start.applied, index);',
        replace: 'this.handedOut = Math.max(start.applied, index - 1);',
      },
      {
        file: 'src/consensus/paxos/log.ts',
        find: 'this.handedOut = Math.max(start.applied, index);',
        replace: 'this.handedOut = Math.max(start.applied, index - 1);',
      },
    ],
  },
];

const lossMutants: readonly Mutant[] = [
  {
    id: 'empty-disk-taken-for-a-new-cluster',
    bug: 'a node whose disk was lost takes part at once, as one of a cluster that begins',
    source: 'etcd#20269; Viewstamped Replication Revisited §4.3',
    file: `${REPLICA}/probation.ts`,
    find: 'if (!this.#context.mayBeNew || this.#hasRun) return false;',
    replace: 'if (!this.#context.mayBeNew) return false;\n    if (voters.size > 0) return true;',
    having: 'wipe',
    consensus: 'both',
  },
  {
    id: 'damaged-log-taken-as-it-is',
    bug: 'a node cuts its log off before the damage and goes on as before',
    source: 'Protocol-aware recovery (Alagappan et al. 2018)',
    file: 'src/consensus/wal/salvage.ts',
    find: '  await putJoiningMarker(disk, options.dataDir, true);\n',
    replace: '',
    having: 'disk-flip',
    consensus: 'both',
  },
  {
    id: 'probation-over-before-caught-up',
    bug: 'a node whose disk was lost votes as soon as it hears of a leader',
    source: 'Viewstamped Replication Revisited §4.3: recovery',
    file: `${REPLICA}/probation.ts`,
    find: '      await this.#context.caughtUp();\n',
    replace: '',
    having: 'wipe',
    consensus: 'both',
  },
  {
    id: 'acknowledges-on-probation',
    bug: 'a node whose disk was lost acknowledges to a leader that nobody has confirmed since',
    source: 'Viewstamped Replication Revisited §4.3: a recovering replica takes no part',
    file: `${REPLICA}/probation.ts`,
    find: 'if (this.#isConfirmed) return effects;',
    replace: "if (this.#isConfirmed || this.#id !== '') return effects;",
    having: 'voters-forget',
    consensus: 'both',
  },
  {
    id: 'second-vote-after-probation',
    bug: 'a node votes again in the term in which it may have voted before its disk was lost',
    source: 'Raft §5.2; etcd#20269',
    file: `${REPLICA}/probation.ts`,
    find: 'if (isVote && (!this.#isOver || message.term <= this.#silentUpTo)) return;',
    replace: 'if (isVote && !this.#isOver) return;',
    having: 'wipe',
    consensus: 'both',
  },
  {
    id: 'lost-log-still-counts',
    bug: 'a leader goes on to count what a node had acknowledged before its disk was lost',
    source: 'etcd#10166, #13509, #20269',
    file: 'src/consensus/raft/replication.ts',
    find: '    peer.reset(this.#log.lastIndex + 1);\n    peer.active = true;\n    this.isDue = true;',
    replace: '    peer.active = true;\n    this.isDue = true;',
    having: 'wipe',
    consensus: 'both',
    also: [
      {
        file: 'src/consensus/paxos/replication.ts',
        find: '    peer.reset(this.#log.commit + 1);\n    peer.active = true;\n    this.isDue = true;',
        replace: '    peer.active = true;\n    this.isDue = true;',
      },
    ],
  },
];

const kvMutants: readonly Mutant[] = [
  {
    id: 'revoked-by-a-former-leader',
    bug: 'a revocation that an old leader asked for comes into force under the next one',
    source: 'etcd#15247',
    file: `${KV}/embedded.ts`,
    find: 'this.#propose({ leaseRevoke: { id } }, AS_LEADER)',
    replace: 'this.#propose({ leaseRevoke: { id } }, undefined)',
    having: 'lessees,pause-leader',
    consensus: 'both',
  },
  {
    id: 'renewed-by-a-former-leader',
    bug: 'a node renews leases without asking whether it still leads',
    source: 'etcd#15247; Jepsen etcd 3.4.3',
    file: `${KV}/embedded.ts`,
    find: 'await this.#replica.readBarrier();\n    if (!this.#replica.leading) throw notLeading();\n    return this.#store.lessor.keepAlive(id);',
    replace: 'return this.#store.lessor.keepAlive(id);',
    having: 'lessees,pause-leader',
    consensus: 'both',
  },
  {
    id: 'new-leader-keeps-old-expiries',
    bug: 'a node that leads again takes leases to run out when it last thought so',
    source: 'etcd: lessor Promote; session expiry by what one node has seen',
    file: `${KV}/leases.ts`,
    find: 'for (const lease of this.#leases.values()) this.#start(lease, extendMs);',
    replace:
      'for (const lease of this.#leases.values()) {\n      if (lease.expiry.atMs === 0) this.#start(lease, extendMs);\n      else this.#expiries.schedule(lease.expiry, lease.expiry.atMs);\n    }',
    having: 'lessees',
    consensus: 'both',
  },
  {
    id: 'lease-expires-by-local-clock',
    bug: 'applying an entry asks the local clock whether a lease has run out',
    source: 'Raft thesis §6.3: expiry must be the same on all; session expiry by local clock',
    file: `${KV}/leases.ts`,
    find: '  has(id: bigint): boolean {\n    return this.#leases.has(id);',
    replace:
      '  has(id: bigint): boolean {\n    const atMs = this.#leases.get(id)?.expiry.atMs ?? 0;\n    if (this.#leading && atMs <= this.#clock.now()) return false;\n    return this.#leases.has(id);',
    consensus: 'both',
  },
  {
    id: 'lease-keeps-keys-that-left-it',
    bug: 'a key that was written anew without its lease dies with it',
    source: 'etcd api: a put replaces the lease of its key',
    file: `${KV}/leases.ts`,
    find: 'this.#leases.get(id)?.keys?.delete(key);',
    replace: 'this.#leases.get(id)?.keys?.has(key);',
    consensus: 'both',
  },
  {
    id: 'delete-lost-at-the-compaction',
    bug: 'a compaction at the revision of a delete removes that delete before watches from there on have it',
    source: 'etcd#18089',
    file: `${KV}/mvcc.ts`,
    find: 'const gone = isTombstone(kept) && kept.modRevision < floor ? newest + 1 : newest;',
    replace: 'const gone = isTombstone(kept) ? newest + 1 : newest;',
    having: 'watchers',
    consensus: 'both',
  },
  {
    id: 'progress-before-events',
    bug: 'a watch is told that it has all up to a revision before it has it',
    source: 'etcd#15220',
    file: `${KV}/watch-stream.ts`,
    find: 'const flushed = this.#host.flush();',
    replace: 'const flushed = request.progressRequest !== undefined || this.#host.flush();',
    having: 'watchers',
    consensus: 'both',
  },
  {
    id: 'watch-skips-what-a-snapshot-brought',
    bug: 'a watch goes on with what comes after a snapshot, without what the snapshot brought',
    source: 'etcd: watchableStore.Restore',
    file: `${KV}/watch-hub.ts`,
    find: 'this.#fallBehind(watcher, watcher.nextRevision);\n      }',
    replace: 'watcher.nextRevision = mvcc.revision + 1;\n      }',
    consensus: 'both',
  },
  {
    id: 'watch-begins-one-late',
    bug: 'a watch that catches up from history leaves out the first revision it asked for',
    source: 'etcd api: start_revision is inclusive',
    file: `${KV}/watch-hub.ts`,
    find: '    const from = watcher.nextRevision;\n',
    replace: '    const from = watcher.nextRevision + 1;\n',
    consensus: 'both',
  },
];

export const replicaMutants: readonly Mutant[] = [
  ...proposalMutants,
  ...stateMutants,
  ...lossMutants,
  ...kvMutants,
];
