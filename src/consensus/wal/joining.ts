/**
 * The file `member/joining`: this node has lost, or may have lost, what it promised, and is on probation
 * (`replica/probation.ts`). It is durable before anything else is changed, so that no crash in between
 * leaves a node that takes part without what it acknowledged.
 */
import { join } from 'node:path';
import type { Disk } from '../../core/disk.ts';

const NAME = 'joining';
/** Written where files were damaged: this node is certainly not new. An empty file says nothing. */
const DAMAGED = 'damaged\n';

/** A probation that is not over. */
export interface JoiningMarker {
  /** The log or a snapshot was damaged: the node was a member before. */
  readonly isDamaged: boolean;
  /** The probation is over. Durable on return. */
  remove(): Promise<void>;
}

/** The marker in the data directory `dataDir`, if there is one. */
export async function readJoiningMarker(
  disk: Disk,
  dataDir: string,
): Promise<JoiningMarker | undefined> {
  const folder = join(dataDir, 'member');
  const path = join(folder, NAME);
  if (!(await disk.exists(path))) return undefined;
  const file = await disk.open(path, 'read');
  let isDamaged: boolean;
  try {
    isDamaged = (await file.size()) > 0;
  } finally {
    await file.close();
  }
  return {
    isDamaged,
    async remove() {
      await disk.remove(path);
      await disk.syncFolder(folder);
    },
  };
}

/** Begins a probation, durable on return. One that is under way goes on. */
export async function putJoiningMarker(
  disk: Disk,
  dataDir: string,
  isDamaged: boolean,
): Promise<JoiningMarker> {
  const folder = join(dataDir, 'member');
  const path = join(folder, NAME);
  const file = await disk.open(path, (await disk.exists(path)) ? 'write' : 'create');
  try {
    if (isDamaged) await file.write(Buffer.from(DAMAGED), 0);
    await file.sync();
  } finally {
    await file.close();
  }
  await disk.syncFolder(folder);
  return (await readJoiningMarker(disk, dataDir))!;
}
