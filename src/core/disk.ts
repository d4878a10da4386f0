/**
 * The file system as storage needs it. `node-disk.ts` is the real one; the simulator replaces it by
 * one that tears, loses and corrupts. All methods reject with the file system's own error.
 */

export interface DiskFile {
  readonly path: string;
  /** Writes all of `data` at `offset`. */
  write(data: Uint8Array, offset: number): Promise<void>;
  /** Reads up to `length` bytes from `offset`; shorter only at the end of the file. */
  read(offset: number, length: number): Promise<Buffer>;
  /**
   * `write` and `sync` of just that data in one step, where the system can (one trip to the thread
   * pool instead of two). Says nothing about earlier writes. First called before any rename.
   */
  readonly writeDurably?: ((data: Uint8Array, offset: number) => Promise<void>) | undefined;
  /** Makes the data durable (`fdatasync`). */
  sync(): Promise<void>;
  size(): Promise<number>;
  close(): Promise<void>;
}

export interface Disk {
  /** `create` fails where the file exists; `open` where it does not. */
  open(path: string, mode: 'read' | 'write' | 'create'): Promise<DiskFile>;
  list(folder: string): Promise<string[]>;
  exists(path: string): Promise<boolean>;
  makeFolder(path: string): Promise<void>;
  rename(from: string, to: string): Promise<void>;
  remove(path: string): Promise<void>;
  /** Makes names in a folder (created, renamed, removed) durable. */
  syncFolder(path: string): Promise<void>;
  /** Holds `folder` against every other process until the returned function is called or this process ends. */
  lock(folder: string): Promise<() => Promise<void>>;
}
