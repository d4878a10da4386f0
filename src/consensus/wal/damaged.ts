/** Files that are not as they were written are set aside, for whoever wants to know what happened. */
import { join } from 'node:path';
import type { Disk } from '../../core/disk.ts';

const SUFFIX = '.damaged';

/** So many are kept in a folder, those with the latest names. */
const KEPT = 2;

/** Renames the file at `path`, so that it is never read again. Durable with the next sync of its folder. */
export function setAside(disk: Disk, path: string): Promise<void> {
  return disk.rename(path, `${path}${SUFFIX}`);
}

/** Removes all but the newest of what was set aside. @returns the bytes of what stays. */
export async function pruneDamaged(disk: Disk, folder: string): Promise<number> {
  const names = (await disk.list(folder)).filter((name) => name.endsWith(SUFFIX)).sort();
  for (const name of names.slice(0, -KEPT)) await disk.remove(join(folder, name));
  let bytes = 0;
  for (const name of names.slice(-KEPT)) bytes += await fileSize(disk, join(folder, name));
  return bytes;
}

export async function fileSize(disk: Disk, path: string): Promise<number> {
  const file = await disk.open(path, 'read');
  try {
    return await file.size();
  } finally {
    await file.close();
  }
}
