/** All mutants, by what they break. */
import type { Mutant } from './mutant.ts';
import { raftMutants } from './raft.ts';

export type { Change, Mutant } from './mutant.ts';

const WAL = 'src/consensus/wal';

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
