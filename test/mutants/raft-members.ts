/** Bugs of who belongs to the cluster: joint consensus, learners, removal. */
import type { Mutant } from './mutant.ts';

const RAFT = 'src/consensus/raft';
const REPLICA = 'src/consensus/replica';

export const raftMemberMutants: readonly Mutant[] = [
  {
    id: 'joint-commit-by-the-new-voters-alone',
    bug: 'while two sets of voters are joined, a majority of the new one commits',
    source: 'Raft §6; etcd-io/raft#372',
    file: `${RAFT}/replication.ts`,
    find: `peer.match;
    const incoming = reachedByMajority(this.#scratch, count);
    if (!this.#isJoint) return incoming;`,
    replace: `peer.match;
    const incoming = reachedByMajority(this.#scratch, count);
    if (count >= 0) return incoming;`,
    having: 'member-replace',
    consensus: 'raft',
  },
  {
    id: 'joint-election-by-the-new-voters-alone',
    bug: 'while two sets of voters are joined, a majority of the new one elects',
    source: 'Raft §6',
    file: `${RAFT}/membership.ts`,
    find: 'if (joint === undefined) return incoming;',
    replace: "if (joint === undefined || incoming === 'won') return incoming;",
    having: 'member-replace',
    consensus: 'raft',
  },
  {
    id: 'joint-phase-skipped',
    bug: 'several voters change in one step, without a joint configuration',
    source: 'Raft §6; etcd-io/raft#372',
    file: `${REPLICA}/members.ts`,
    find: "if (transition === 'enter') after.joint = { outgoing: votersOf(before), autoLeave };",
    replace: "if (transition === 'leave') after.joint = { outgoing: votersOf(before), autoLeave };",
    having: 'member-',
    consensus: 'raft',
  },
  {
    id: 'joint-left-before-it-commits',
    bug: 'the end of a joint configuration follows its beginning before that is committed',
    source: 'camunda#60086',
    file: `${RAFT}/leadership.ts`,
    find: 'this.#append(type, data);\n    return { index: this.#log.lastIndex, term: this.#term };',
    replace: `this.#append(type, data);
    const { lastIndex } = this.#log;
    if (type === EntryType.configChangeV2 && data.length > 0) this.#append(type, NO_DATA);
    return { index: lastIndex, term: this.#term };`,
    having: 'member-',
    consensus: 'raft',
  },
  {
    id: 'change-while-another-is-under-way',
    bug: 'a change of the members is taken while another is in the log',
    source: 'Raft thesis §4.1; etcd: pendingConfIndex',
    file: `${RAFT}/leadership.ts`,
    find: 'if (this.#log.hasChange || this.#log.applied < this.#termStart)',
    replace: 'if (this.#log.applied < this.#termStart)',
    also: [
      {
        file: `${REPLICA}/reconfiguration.ts`,
        find: 'if (!isLeading() || members.isJoint || isUnderWay)',
        replace: 'if (!isLeading() || members.isJoint)',
      },
    ],
    having: 'member-',
    consensus: 'raft',
  },
  {
    id: 'change-before-the-first-commit',
    bug: 'a leader takes a change of the members before an entry of its own term is committed',
    source: 'Ongaro 2015, raft-dev; hydro#3192',
    file: `${RAFT}/leadership.ts`,
    find: 'if (this.#log.hasChange || this.#log.applied < this.#termStart)',
    replace: 'if (this.#log.hasChange)',
    also: [
      {
        file: `${REPLICA}/reconfiguration.ts`,
        find: 'if (!isLeading() || members.isJoint || isUnderWay)',
        replace: 'if (members.isJoint || isUnderWay)',
      },
    ],
    having: 'member-',
    consensus: 'raft',
  },
  {
    id: 'learner-counts-for-commits',
    bug: 'learners count for the majority that commits',
    source: 'thesis §4.2.1; etcd#21694',
    file: `${RAFT}/replication.ts`,
    find: 'for (const id of learners) this.#keep(id, undefined);',
    replace: "for (const id of learners) this.#keep(id, 'isVoter');",
    having: 'member-',
    consensus: 'raft',
  },
  {
    id: 'learner-becomes-voter-by-an-update',
    bug: 'a learner whose address is changed becomes a voter',
    source: 'etcd#21694',
    file: `${REPLICA}/members.ts`,
    find: 'members.set(id, { ...member, peerUrls: step.peerUrls, moved: true });',
    replace:
      'members.set(id, { ...member, peerUrls: step.peerUrls, moved: true, learner: false });',
    having: 'member-',
    consensus: 'raft',
  },
  {
    id: 'removed-leader-goes-on-leading',
    bug: 'a leader that was removed goes on as if it were not',
    source: 'Raft §6, thesis §4.2.2',
    file: `${RAFT}/raft.ts`,
    find: 'else this.#leadership.leave();',
    replace: '',
    having: 'member-',
    consensus: 'raft',
  },
  {
    id: 'members-of-a-snapshot-ignored',
    bug: 'a node that installs a snapshot goes on with the members it had before',
    source: 'openraft#1808',
    file: `${RAFT}/raft.ts`,
    find: 'this.configure(metadata.configuration);\n    if (this.#self.leader',
    replace: 'if (this.#self.leader',
    also: [
      {
        file: `${REPLICA}/reconfiguration.ts`,
        find: 'core.configure(members.configuration());\n    this.#fates.skippedTo',
        replace: 'this.#fates.skippedTo',
      },
    ],
    having: 'member-',
    consensus: 'raft',
  },
  {
    id: 'campaign-with-a-change-unapplied',
    bug: 'a node campaigns although it knows of a committed change that it has not applied',
    source: 'etcd#7625, etcd#12359',
    file: `${RAFT}/elections.ts`,
    find: '!this.#stall.isStalled &&\n      !this.#log.isBehindInChanges',
    replace: '!this.#stall.isStalled',
    having: 'member-',
    consensus: 'raft',
  },
  {
    id: 'commit-of-a-change-not-written',
    bug: 'a node acts on a change of the members and forgets in a crash that it is committed',
    source: 'etcd-io/raft: MustSync; sofa-jraft#1092',
    file: `${RAFT}/raft.ts`,
    find: 'if (this.#membership.configure(configuration)) this.#self.writeCommit();',
    replace: 'this.#membership.configure(configuration);',
    having: 'member-',
    consensus: 'raft',
  },
];
