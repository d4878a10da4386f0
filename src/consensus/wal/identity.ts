/**
 * Whose log a folder holds, read before it is opened: a node that joined a running cluster, or one whose
 * peers have changed since, knows its ids from there alone.
 */
import { join } from 'node:path';
import { crc32c } from '../../core/crc32c.ts';
import type { Disk } from '../../core/disk.ts';
import type { Identity } from '../storage.ts';
import { CRC_RECORD_BYTES, FRAME_BYTES, RecordType } from './record.ts';
import { FieldReader, parseHead, parseMetadata, type RecordHead } from './record-parser.ts';
import { parseSegments } from './segment.ts';

/** The checksum and the metadata, with which every segment begins. */
const HEAD_BYTES = 512;

/**
 * The ids in the log of the data directory `dataDir`, from the first segment that tells them; `undefined`
 * where none does: the folder is new, or what it holds is damaged.
 */
export async function readIdentity(disk: Disk, dataDir: string): Promise<Identity | undefined> {
  const folder = join(dataDir, 'member', 'wal');
  if (!(await disk.exists(folder))) return undefined;
  for (const { path } of parseSegments(folder, await disk.list(folder))) {
    const file = await disk.open(path, 'read');
    try {
      const identity = identityIn(await file.read(0, Math.min(HEAD_BYTES, await file.size())));
      if (identity !== undefined) return identity;
    } finally {
      await file.close();
    }
  }
  return undefined;
}

function identityIn(head: Buffer): Identity | undefined {
  const record: RecordHead = { type: 0, crc: 0, dataStart: 0, dataEnd: 0 };
  let chain = 0;
  for (let at = 0; at + FRAME_BYTES <= head.length && at < 4 * CRC_RECORD_BYTES; ) {
    const length = head.readUInt32LE(at);
    const start = at + FRAME_BYTES;
    if (parseHead(head, start, head.length, record) !== length) return undefined;
    if (start + length > head.length) return undefined;
    if (record.type === RecordType.metadata) {
      const isWhole = crc32c(head, record.dataStart, record.dataEnd, chain) === record.crc;
      return isWhole
        ? parseMetadata(new FieldReader(), head, record.dataStart, record.dataEnd)
        : undefined;
    }
    if (record.type !== RecordType.crc) return undefined;
    chain = record.crc;
    at = start + length + (-length & 7);
  }
  return undefined;
}
