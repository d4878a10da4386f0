/** Bugs of the log on disk and of snapshots. */
import type { Mutant } from './mutant.ts';

const WAL = 'src/consensus/wal';

export const storageMutants: readonly Mutant[] = [
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
  {
    id: 'folder-not-synced-after-snapshot',
    bug: 'the name of a snapshot may be lost after the log has noted it',
    source: 'etcd: TestSaveSnapWithDirSync; ALICE (Pillai et al. 2014)',
    file: `${WAL}/snapshot-store.ts`,
    find: '      await disk.syncFolder(folder);\n',
    replace: '',
    consensus: 'both',
  },
  {
    id: 'snapshot-noted-before-its-file',
    bug: 'the log says that a snapshot is current before the file has its name',
    source: 'ALICE (Pillai et al. 2014): order of rename and append',
    file: `${WAL}/snapshot-store.ts`,
    find: `    try {
      await disk.rename(\`\${file.path}.tmp\`, file.path);
      await disk.syncFolder(folder);
    } catch (error) {
      throw diskFailed(\`putting \${file.path} in place\`, error);
    }
    await new Promise<void>((resolve, reject) => {
      log.noteSnapshot(file.metadata, (error) => (error ? reject(error) : resolve()));
    });
`,
    replace: `    await new Promise<void>((resolve, reject) => {
      log.noteSnapshot(file.metadata, (error) => (error ? reject(error) : resolve()));
    });
    await disk.rename(\`\${file.path}.tmp\`, file.path);
    await disk.syncFolder(folder);
`,
    having: 'snapshotEntries',
    consensus: 'both',
  },
  {
    id: 'sync-error-tried-again',
    bug: 'after a failed sync another one is tried, and its success believed',
    source: 'fsyncgate; cockroach#37102, rostam#94',
    file: `${WAL}/log-writer.ts`,
    find: 'return file.writeDurably(data, offset);',
    replace: 'return file.writeDurably(data, offset).catch(() => file.sync());',
    having: 'disk-error',
    consensus: 'both',
  },
  {
    id: 'write-error-ignored',
    bug: 'an error of the disk is passed over, and the write counts as durable',
    source: 'braft CA-5; sofa-jraft bug 3',
    file: 'src/consensus/replica/replica.ts',
    find: 'if (error !== undefined) return this.#fail(error);',
    replace: '',
    having: 'disk-error',
    consensus: 'both',
  },
  {
    id: 'vote-waits-for-the-next-entries',
    bug: 'a vote in a term that is known already is not written before the next entries',
    source: 'hashicorp/raft: term and vote written apart; braft CA-4',
    file: `${WAL}/log-writer.ts`,
    find: 'const promises = term !== before.term || vote !== before.vote;',
    replace: 'const promises = term !== before.term;',
    consensus: 'raft',
  },
  {
    id: 'entries-before-their-term',
    bug: 'a write that is cut short leaves entries of a term that the node never entered',
    source: 'openraft io_ordering.md; hashicorp/raft: term and log written apart',
    file: `${WAL}/log-writer.ts`,
    find: 'if (promises && entries.length > 0) encoder.state({ term, vote, commit: before.commit });',
    replace: '',
    having: 'crash-in-write',
    consensus: 'raft',
    also: [
      {
        file: 'src/consensus/raft/standing.ts',
        find: 'if (this.term < log.lastTerm) this.setTerm(log.lastTerm, NO_NODE);',
        replace: '',
      },
    ],
  },
  {
    id: 'replaced-entry-keeps-what-followed',
    bug: 'an entry that replaces another leaves in place what followed that one',
    source: 'sofa-jraft bug 10, braft H-L1: the suffix is cut in a step of its own',
    file: `${WAL}/log-image.ts`,
    find: 'if (position < this.entries.length) this.entries.length = position;',
    replace:
      'if (position < this.entries.length) {\n      this.entries[position] = entry;\n      this.last = this.base + this.entries.length;\n      return undefined;\n    }',
    consensus: 'raft',
  },
  {
    id: 'segment-released-too-early',
    bug: 'a segment of the log is removed while it holds entries that no snapshot covers',
    source: 'Raft §7: the log is dropped only behind a snapshot',
    file: `${WAL}/log-writer.ts`,
    find: 'this.#segments[1]!.firstIndex <= limit',
    replace: 'this.#segments[0]!.firstIndex <= limit',
    having: 'snapshotEntries',
    consensus: 'both',
  },
  {
    id: 'log-released-before-the-snapshot',
    bug: 'old segments are removed when a snapshot is begun',
    source: 'dragonboat#409: an error on saving the snapshot went unseen',
    file: 'src/consensus/replica/outgoing-snapshots.ts',
    find: '      const taken = await snapshots.take(',
    replace: '      storage.release(index);\n      const taken = await snapshots.take(',
    consensus: 'both',
    also: [
      {
        file: `${WAL}/storage.ts`,
        find: 'await this.#log.release(Math.min(done, this.#snapshots.currentIndex));',
        replace: 'await this.#log.release(done);',
      },
    ],
  },
  {
    id: 'torn-write-not-wiped',
    bug: 'what is left of a torn write stays behind the end of the log, and later writes lie before it',
    source: 'segments used again with old records behind the tail',
    file: `${WAL}/storage.ts`,
    find: 'await fillWithZeros(file, end.offset, end.dirtyEnd);',
    replace: 'await file.sync();',
    having: 'crash-in-write',
    consensus: 'both',
  },
  {
    id: 'found-but-not-synced',
    bug: 'what a killed process left in the page cache is promised on again without a sync',
    source:
      'ALICE (Pillai et al. 2014); Rebello et al. 2020, Can applications recover from fsync failures?',
    file: `${WAL}/storage.ts`,
    find: '  } else {\n    await file.sync();\n  }',
    replace: '  }',
    also: [
      {
        file: `${WAL}/storage.ts`,
        find: '  await writeAnew(file, durable?.segment === tail.sequence ? durable.offset : 0, end.offset);\n',
        replace: '',
      },
    ],
    having: 'kill',
    consensus: 'both',
  },
  {
    id: 'found-and-only-synced',
    bug: 'what a failed sync left in the page cache is promised on after a restart, without being written anew',
    source: 'Rebello et al. 2020, Can applications recover from fsync failures?',
    file: `${WAL}/storage.ts`,
    find: '  await writeAnew(file, durable?.segment === tail.sequence ? durable.offset : 0, end.offset);\n',
    replace: '',
    having: 'disk-error',
    consensus: 'both',
  },
  {
    id: 'record-checksum-not-checked',
    bug: 'a record of the log is taken whatever its checksum says',
    source: 'dragonboat: a checksum of 0 was not checked',
    file: `${WAL}/log-reader.ts`,
    find: 'const chain = crc32c(chunk, head.dataStart, head.dataEnd, this.#chain);',
    replace: 'const chain = head.crc;',
    having: 'disk-flip',
    consensus: 'both',
  },
  {
    id: 'snapshot-checksum-not-checked',
    bug: 'a chunk of a snapshot is taken whatever its checksum says',
    source: 'dragonboat: a checksum of 0 was not checked',
    file: `${WAL}/snapshot-file.ts`,
    find: '    this.#chain = crc32c(data, 0, length, this.#chain);\n',
    replace: '    this.#chain = checksum;\n',
    having: 'disk-flip,snapshotEntries',
    consensus: 'both',
  },
  {
    id: 'damage-taken-for-a-torn-write',
    bug: 'a damaged record in the middle of the log is taken for its end',
    source: 'Protocol-aware recovery (Alagappan et al. 2018): etcd, ZooKeeper; silent truncation',
    file: `${WAL}/log-reader.ts`,
    find: 'if (isCrcRecord(chunk, at, this.#head)) throw corrupt(this.#path, position, wrong);',
    replace: 'void at;',
    having: 'disk-zero',
    consensus: 'both',
    also: [
      {
        file: `${WAL}/log-reader.ts`,
        find: 'if (hasZeroSector(chunk, start, end + padding, position + FRAME_BYTES)) return wrong;\n        throw corrupt(this.#path, position, wrong);',
        replace: 'return wrong;',
      },
      {
        file: `${WAL}/recovery.ts`,
        find: 'if (mark === undefined) return;',
        replace: 'if (mark === undefined || mark.offset >= 0) return;',
      },
      {
        file: `${WAL}/recovery.ts`,
        find: 'if (commit <= image.last) return;',
        replace: 'if (commit >= 0) return;',
      },
    ],
  },
  {
    id: 'commit-below-the-snapshot-after-restart',
    bug: 'after a restart the commit index lies before the snapshot',
    source: 'sofa-jraft#1092',
    file: `${WAL}/log-writer.ts`,
    find: 'const commit = Math.max(metadata.index, this.#hardState.commit);',
    replace: 'const { commit } = this.#hardState;',
    having: 'snapshotEntries',
    consensus: 'both',
    also: [
      {
        file: 'src/consensus/raft/log.ts',
        find: 'this.commit = Math.max(start.commit, index);',
        replace: 'this.commit = start.commit;',
      },
      {
        file: 'src/consensus/paxos/log.ts',
        find: 'this.commit = Math.max(start.commit, index);',
        replace: 'this.commit = start.commit;',
      },
    ],
  },
  {
    id: 'slot-of-older-ballot-found',
    bug: 'of two records of a slot the first one is found again at a restart',
    source: 'Paxos Made Simple §2.5',
    file: `${WAL}/slot-image.ts`,
    find: 'this.#slots.set(index, entry);',
    replace: 'if (before === 0) this.#slots.set(index, entry);',
    consensus: 'paxos',
  },
];
