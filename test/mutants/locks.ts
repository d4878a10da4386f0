/** Bugs of locks and what is built like them, for seeds that are aimed at locks. */
import type { Mutant } from './mutant.ts';

/** All of them are for Raft: locks do not know the difference. */
type LockMutant = Omit<Mutant, 'consensus' | 'workload'>;

const LOCKS = 'src/locks';

const queueMutants: readonly LockMutant[] = [
  {
    id: 'lock-waits-for-one-and-does-not-look-again',
    bug: 'who waited for the claim before it holds when that is gone, whoever else is still before',
    source:
      'etcd client/v3/concurrency waitDeletes; ZooKeeper recipe: look again after the predecessor went',
    file: `${LOCKS}/claim.ts`,
    find: 'now = await orAborted(this.#look(place.revision), signal);',
    replace: 'now = { ...now, before: [] };',
  },
  {
    id: 'lock-place-is-not-looked-after',
    bug: 'who waits does not see that its own key has gone, and holds when its turn would have come',
    source: 'etcd#9921: a waiter wins after its own lease has died',
    file: `${LOCKS}/claim.ts`,
    find: 'if (own?.createRevision !== revision) {',
    replace: 'if (own === undefined && revision < 0) {',
  },
  {
    id: 'lock-shared-past-earlier-writers',
    bug: 'a shared lock counts its own permits only, and not those of a writer before it',
    source: 'ZooKeeper recipes: shared locks wait for write locks before them',
    file: `${LOCKS}/claim.ts`,
    find: 'return before.length < before.reduce((least, key) => Math.min(least, permitsOf(key)), permits);',
    replace: 'return before.length < permits;',
  },
  {
    id: 'semaphore-off-by-one',
    bug: 'a semaphore of k lets k + 1 in',
    source: 'off by one',
    file: `${LOCKS}/claim.ts`,
    find: 'return before.length < before.reduce((least, key) => Math.min(least, permitsOf(key)), permits);',
    replace:
      'const least = before.reduce((most, key) => Math.min(most, permitsOf(key)), permits);\n  return before.length < (least > 1 ? least + 1 : least);',
  },
  {
    id: 'lock-freed-between-look-and-watch',
    bug: 'who waits watches from now on, and not from when it looked',
    source: 'lost wake-ups: etcd-io/etcd, watch from the revision after the read',
    file: `${LOCKS}/claim.ts`,
    find: "{ fromRevision: asOf + 1, without: 'put', signal }",
    replace: "{ fromRevision: 0 * asOf, without: 'put', signal }",
  },
  {
    id: 'lock-leaves-its-place-behind',
    bug: 'who gives up to wait leaves its key in the queue, as long as its session lives',
    source: 'etcd#9715, etcd#19597: a wait that failed leaves its key',
    file: `${LOCKS}/claim.ts`,
    find: 'sessions.inBackground(entry.remove(queued));',
    replace: '',
  },
  {
    id: 'lock-forgets-a-write-of-unknown-outcome',
    bug: 'a key whose write had no answer is taken for not written',
    source: 'Jepsen: indeterminate results; ZooKeeper recipes: recoverable errors and the GUID',
    file: `${LOCKS}/claim.ts`,
    find: '      this.#mayExist = true;\n      this.#mayCome = true;\n      this.#session.retire();\n      return true;',
    replace: '      return false;',
  },
  {
    id: 'lock-late-key-of-its-own-session',
    bug: 'a key whose write comes after it was removed stays as long as others keep its session alive',
    source: 'ours, found by a seed: 3df5071',
    file: `${LOCKS}/claim.ts`,
    find: 'this.#sessions.inBackground(this.#session.keepAway(this.key, remove));',
    replace: 'void remove;',
  },
  {
    id: 'lock-is-removed-once-or-never',
    bug: 'a key that could not be taken away is left to its lease, which others keep alive',
    source: 'ours: b915d39',
    file: `${LOCKS}/session.ts`,
    find: '      session.retire();\n      this.inBackground(this.#takeAwayLater(session, remove));\n',
    replace: '',
  },
  {
    id: 'lock-of-a-dead-session',
    bug: 'a claim whose turn has come is held although its session has ended meanwhile',
    source: 'etcd#11456: a lock is returned without a look at its lease',
    file: `${LOCKS}/claim.ts`,
    find: 'if (ended !== undefined) throw this.lostPlace(ended);',
    replace: 'void ended;',
    also: [
      {
        file: `${LOCKS}/claim.ts`,
        find: 'gate.abort(entry.lostPlace(reason)));',
        replace: 'void reason);',
      },
      {
        file: `${LOCKS}/claim.ts`,
        find: 'if (own?.createRevision !== revision) {',
        replace: 'if (own === undefined && revision < 0) {',
      },
    ],
  },
];

const holdMutants: readonly LockMutant[] = [
  {
    id: 'lock-renewal-counts-from-its-answer',
    bug: 'a lock is trusted from when the answer to its renewal came, not from when that was sent',
    source: 'Chubby §2.8: the client counts its lease conservatively; etcd#10811: two holders',
    file: `${LOCKS}/life.ts`,
    find: 'else if (this.#lasts()) this.#deadlineMs = sentMs + renewed;',
    replace: 'else this.#deadlineMs = this.#clock.now() + renewed;',
  },
  {
    id: 'lock-grant-counts-from-its-answer',
    bug: 'a lock is trusted from when the answer to the grant of its lease came',
    source: 'Redlock: validity is the time to live less what the request took',
    file: `${LOCKS}/session.ts`,
    find: 'return new Session(kv, clock, lease.id, lease.ttlMs, sentMs);',
    replace: 'return new Session(kv, clock, lease.id, lease.ttlMs, Math.max(sentMs, clock.now()));',
  },
  {
    id: 'lock-lost-is-not-told',
    bug: 'the signal of a lock is never aborted',
    source: 'microsoft/etcd3#13, #50, #56: loss of the lease is not detected',
    file: `${LOCKS}/hold.ts`,
    find: `was lost: \${why}\`, { loss });\n    this.#controller?.abort(this.#reason);`,
    replace: `was lost: \${why}\`, { loss });`,
  },
  {
    id: 'lock-theft-is-not-noticed',
    bug: 'a holder does not look whether its key is still there',
    source: 'etcd#6127: am I still the holder',
    file: `${LOCKS}/kv-claim.ts`,
    find: 'sessions.clock.after(GUARD_AFTER_MS, () => void this.#guard());',
    replace: 'sessions.clock.after(GUARD_AFTER_MS, () => void this.#guard);',
  },
  {
    id: 'lock-release-does-not-compare',
    bug: 'a release deletes whatever is under the name',
    source: 'Redis SET documentation: DEL without compare',
    file: `${LOCKS}/kv-claim.ts`,
    find: "if: [{ key: this.holder, target: 'create', is: '=', to: this.revision }],",
    replace: 'if: [],',
  },
  {
    id: 'lock-of-a-set-lost-unseen',
    bug: 'locks that are held together are given out although one was lost while the others were waited for',
    source: 'a check, and a use after it',
    file: `${LOCKS}/locks-over.ts`,
    find: '      together.assertHeld();\n',
    replace: '',
  },
];

const txnMutants: readonly LockMutant[] = [
  {
    id: 'txn-lock-is-taken-without-a-look',
    bug: 'the key is put whether or not it is there',
    source: 'Redis SET documentation: SET without NX',
    file: `${LOCKS}/kv-txn.ts`,
    find: "        if: [{ key, target: 'create', is: '=', to: 0 }],\n        then: [{ op: 'put', key, value: this.#value, lease }],",
    replace:
      "        if: [{ key, target: 'create', is: '>', to: -1 }],\n        then: [{ op: 'put', key, value: this.#value, lease }],",
  },
  {
    id: 'txn-lock-late-key-of-its-own-session',
    bug: 'a key whose write comes after it was removed stays as long as others keep its session alive',
    source: 'ours, found by a seed: 3df5071',
    file: `${LOCKS}/kv-txn.ts`,
    find: '    this.#sessions.inBackground(kept);',
    replace: '    void kept;',
    also: [
      {
        file: `${LOCKS}/kv-txn.ts`,
        find: 'this.#session.keepAway(this.#request.name, () => this.#delete());',
        replace: 'this.#request.name;',
      },
    ],
  },
  {
    id: 'txn-lock-does-not-know-itself',
    bug: 'who created the key and had no answer takes it for that of another',
    source: 'ZooKeeper recipes: recoverable errors and the GUID',
    file: `${LOCKS}/kv-txn.ts`,
    find: 'const isOurs = there?.value.toString() === this.#value;',
    replace: 'const isOurs = there === undefined;',
  },
  {
    id: 'txn-lock-removes-that-of-another',
    bug: 'who gives up deletes the key, whoever holds it by now',
    source: 'Redis SET documentation: DEL without compare',
    file: `${LOCKS}/kv-txn.ts`,
    find: "if: [{ key, target: 'value', is: '=', to: this.#value }],",
    replace: 'if: [],',
    also: [
      {
        file: `${LOCKS}/kv-txn.ts`,
        find: 'if (!this.#mayExist || this.#session.endReason() !== undefined) return;',
        replace: '',
      },
    ],
  },
];

const electionMutants: readonly LockMutant[] = [
  {
    id: 'election-proclaims-without-check',
    bug: 'a leader that was deposed puts its key again',
    source: 'etcd client/v3/concurrency: Proclaim compares the create revision',
    file: `${LOCKS}/over-kv.ts`,
    find: "        if: [{ key, target: 'create', is: '=', to: revision }],\n        then: [{ op: 'put', key, value, lease }],",
    replace: "        if: [],\n        then: [{ op: 'put', key, value, lease }],",
  },
  {
    id: 'election-leader-is-the-newest',
    bug: 'the leader that others see is the candidate that came last',
    source: 'etcd client/v3/concurrency: Leader takes the first created',
    file: `${LOCKS}/over-kv.ts`,
    find: "{ sortBy: 'create', order: 'ascend', limit: 1, ...options }",
    replace: "{ sortBy: 'create', order: 'descend', limit: 1, ...options }",
  },
  {
    id: 'election-reads-are-not-linearizable',
    bug: 'the leader is asked for at a node that may be behind',
    source: 'etcd#741: stale reads',
    file: `${LOCKS}/over-kv.ts`,
    find: "{ sortBy: 'create', order: 'ascend', limit: 1, ...options }",
    replace: "{ sortBy: 'create', order: 'ascend', limit: 1, serializable: true, ...options }",
  },
];

const meetingMutants: readonly LockMutant[] = [
  {
    id: 'latch-opens-one-early',
    bug: 'a latch is open when one count-down is missing',
    source: 'off by one',
    file: `${LOCKS}/latch.ts`,
    find: 'const remaining = Math.max(0, this.#count - rangeOf(results.at(-1)).count);',
    replace: 'const remaining = Math.max(0, this.#count - 1 - rangeOf(results.at(-1)).count);',
  },
  {
    id: 'latch-counts-a-retry-again',
    bug: 'a count-down whose answer was lost is made again under another number',
    source: 'redisraft#52: duplicated operations',
    file: `${LOCKS}/latch.ts`,
    find: "          then: [{ op: 'put', key, value: '', lease }, ...this.#state()],",
    replace: `          then: [{ op: 'put', key: \`\${this.#name}/\${this.#random.id63()}\`, value: '', lease }, ...this.#state()],`,
  },
  {
    id: 'latch-count-down-between-look-and-watch',
    bug: 'who waits watches from now on, and not from when it looked',
    source: 'lost wake-ups: etcd-io/etcd, watch from the revision after the read',
    file: `${LOCKS}/latch.ts`,
    find: 'await this.#counted(remaining, result.revision + 1, signal);',
    replace: 'await this.#counted(remaining, 0, signal);',
  },
  {
    id: 'barrier-leaves-early',
    bug: 'a party leaves while one of the others is inside',
    source: 'ZooKeeper recipes: double barrier, leave',
    file: `${LOCKS}/barrier.ts`,
    find: 'if (left.size === 0) return;',
    replace: 'if (left.size <= 1) return;',
  },
  {
    id: 'barrier-rounds-overlap',
    bug: 'a round begins while one of the round before is inside',
    source: 'ZooKeeper recipes: double barrier, reuse',
    file: `${LOCKS}/barrier.ts`,
    find: `          if: [\n            { key: { prefix: \`\${this.#name}/\` }, target: 'version', is: '<', to: 2 },`,
    replace: '          if: [',
    also: [
      {
        file: `${LOCKS}/barrier.ts`,
        find: '    if (all.some(([, member]) => isInside(member))) return undefined;\n    all.sort(',
        replace:
          '    for (const each of [...all]) if (isInside(each[1])) all.splice(all.indexOf(each), 1);\n    if (all.length < this.#parties) return undefined;\n    all.sort(',
      },
    ],
  },
  {
    id: 'barrier-begins-one-short',
    bug: 'a round begins with one party too few',
    source: 'off by one',
    file: `${LOCKS}/barrier.ts`,
    find: '    if (members.size < this.#parties) return undefined;',
    replace: '    if (members.size < Math.max(1, this.#parties - 1)) return undefined;',
  },
];

export const lockMutants: readonly Mutant[] = [
  ...queueMutants,
  ...holdMutants,
  ...txnMutants,
  ...electionMutants,
  ...meetingMutants,
].map((mutant) => ({ ...mutant, consensus: 'raft', workload: 'locks' }) as const);
