/**
 * The real file system. Callback `fs` in place of `fs/promises`: on the path of every write it costs
 * a third of the allocations and no `FileHandle`. Calls run on Node's thread pool, so a slow disk
 * never holds the event loop.
 */
import fs from 'node:fs';
import type { Disk, DiskFile } from './disk.ts';
import { lockFolder } from './folder-lock.ts';

/** The file system of this machine. */
export const nodeDisk: Disk = {
  open(path, mode) {
    const flags = mode === 'read' ? 'r' : mode === 'write' ? 'r+' : 'wx+';
    return new Promise((resolve, reject) => {
      fs.open(path, flags, 0o600, (error, fd) => {
        if (error) reject(error);
        else resolve(new NodeFile(path, fd));
      });
    });
  },
  list: (folder) => fs.promises.readdir(folder),
  exists: (path) =>
    fs.promises.access(path).then(
      () => true,
      (error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return false;
        throw error;
      },
    ),
  async makeFolder(path) {
    await fs.promises.mkdir(path, { recursive: true, mode: 0o700 });
  },
  rename: (from, to) => fs.promises.rename(from, to),
  remove: (path) => fs.promises.rm(path),
  async syncFolder(path) {
    const folder = await fs.promises.open(path, 'r');
    try {
      await folder.sync();
    } finally {
      await folder.close();
    }
  },
  lock: lockFolder,
};

/**
 * With `O_DSYNC` a write returns when its data is durable, exactly as after `fdatasync`. Not on macOS,
 * where it does not empty the drive's cache, which Node's `fdatasync` does.
 */
const DURABLE_FLAGS =
  process.platform === 'linux' ? fs.constants.O_RDWR | fs.constants.O_DSYNC : undefined;

class NodeFile implements DiskFile {
  readonly path: string;
  readonly writeDurably: ((data: Uint8Array, offset: number) => Promise<void>) | undefined;
  readonly #fd: number;
  /** A second descriptor of the same file, opened when first needed. */
  #durableFd: number;
  #closed: boolean;

  constructor(path: string, fd: number) {
    this.path = path;
    this.writeDurably = DURABLE_FLAGS === undefined ? undefined : this.#writeDurably;
    this.#fd = fd;
    this.#durableFd = NO_FD;
    this.#closed = false;
  }

  async #writeDurably(data: Uint8Array, offset: number): Promise<void> {
    if (this.#durableFd === NO_FD) {
      this.#durableFd = await new Promise<number>((resolve, reject) => {
        fs.open(this.path, DURABLE_FLAGS!, (error, fd) => (error ? reject(error) : resolve(fd)));
      });
    }
    await writeAll(this.#durableFd, data, offset);
  }

  write(data: Uint8Array, offset: number): Promise<void> {
    return writeAll(this.#fd, data, offset);
  }

  read(offset: number, length: number): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      const buffer = Buffer.allocUnsafeSlow(length);
      let filled = 0;
      const onRead = (error: Error | null, count: number): void => {
        filled += count;
        if (error) reject(error);
        else if (filled === length) resolve(buffer);
        else if (count === 0) resolve(buffer.subarray(0, filled));
        else next();
      };
      const next = (): void => {
        fs.read(this.#fd, buffer, filled, length - filled, offset + filled, onRead);
      };
      next();
    });
  }

  sync(): Promise<void> {
    return new Promise((resolve, reject) => {
      fs.fdatasync(this.#fd, (error) => (error ? reject(error) : resolve()));
    });
  }

  size(): Promise<number> {
    return new Promise((resolve, reject) => {
      fs.fstat(this.#fd, (error, stats) => (error ? reject(error) : resolve(stats.size)));
    });
  }

  async close(): Promise<void> {
    // A descriptor closed twice may by then belong to another file.
    if (this.#closed) return;
    this.#closed = true;
    if (this.#durableFd !== NO_FD) await closeFd(this.#durableFd);
    await closeFd(this.#fd);
  }
}

const NO_FD = -1;

function closeFd(fd: number): Promise<void> {
  return new Promise((resolve, reject) => {
    fs.close(fd, (error) => (error ? reject(error) : resolve()));
  });
}

function writeAll(fd: number, data: Uint8Array, offset: number): Promise<void> {
  return new Promise((resolve, reject) => {
    let written = 0;
    const onWritten = (error: Error | null, count: number): void => {
      written += count;
      if (error) reject(error);
      else if (written === data.length) resolve();
      else next();
    };
    const next = (): void => {
      fs.write(fd, data, written, data.length - written, offset + written, onWritten);
    };
    next();
  });
}
