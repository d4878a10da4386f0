/**
 * One process at a time in a folder. Node has no `flock`, and a file with a process id in it lies
 * after a crash: so the lock is a listening unix socket. The kernel ends it with the process however
 * that dies, and a stopped process (SIGSTOP) still holds it, since the kernel accepts for it.
 *
 * Taking it over from a dead process has no race because no name is ever used twice: each contender
 * first publishes a socket under a name of its own, then looks at all others there. Of two contenders
 * the one that published later sees the other. A socket that refuses is dead for good and may be
 * removed by anyone. Where two see each other, the higher name gives way and the lower one looks
 * again for a while.
 *
 * For local file systems: processes on different machines do not see each other's sockets.
 */
import fs from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { sleep } from './abort.ts';
import { systemClock } from './clock.ts';
import { QuorateError } from './errors.ts';
import { systemRandom } from './random.ts';

const NAME = /^lock-(\d+)-[0-9a-f]{8}$/;

/** A name is published only once its socket listens: until then it carries this ending. */
const PENDING = '.tmp';

/** The address of a unix socket holds 108 bytes on Linux, 104 on macOS, with the closing zero. */
const MAX_ADDRESS_BYTES = 100;

/** How often, and how far apart, the lower of two contenders looks whether the other gave way. */
const LOOKS = 10;
const LOOK_INTERVAL_MS = 30;

const ATTEMPTS = 3;

/**
 * Locks `folder` until the returned function is called or this process ends. Does not keep the
 * process alive.
 *
 * @throws `ERR_DATA_DIR_LOCKED` (not applied) naming the process that holds it.
 */
export async function lockFolder(folder: string): Promise<() => Promise<void>> {
  const full = path.resolve(folder);
  const address = await shortenedFolder(full, 32);
  try {
    for (let attempt = 1; ; attempt++) {
      try {
        return await lockAt(full, address.folder);
      } catch (error) {
        // Another contender took our socket, not listening yet, for a dead one and removed it.
        const removed = (error as NodeJS.ErrnoException).code === 'ENOENT';
        if (!removed || attempt === ATTEMPTS) throw error;
      }
    }
  } finally {
    await address.dispose();
  }
}

async function lockAt(folder: string, address: string): Promise<() => Promise<void>> {
  const suffix = systemRandom
    .below(2 ** 32)
    .toString(16)
    .padStart(8, '0');
  const name = `lock-${process.pid}-${suffix}`;
  const server = await listen(path.join(address, name + PENDING));
  const file = path.join(folder, name);
  const release = async (): Promise<void> => {
    await fs.promises.rm(file, { force: true });
    await new Promise((resolve) => server.close(resolve));
  };
  try {
    await fs.promises.rename(file + PENDING, file);
    for (let look = 1; ; look++) {
      const holder = await liveOther(folder, address, name);
      if (holder === undefined) break;
      if (holder < name || look === LOOKS) throw lockedError(folder, holder);
      await sleep(systemClock, LOOK_INTERVAL_MS);
    }
  } catch (error) {
    await release();
    throw error;
  }
  server.unref();
  return release;
}

function lockedError(folder: string, holder: string): QuorateError {
  const pid = NAME.exec(holder)?.[1];
  return new QuorateError(
    'ERR_DATA_DIR_LOCKED',
    `data directory ${folder} is in use by process ${pid} (${path.join(folder, holder)}); ` +
      'stop that process, or give this node a directory of its own',
  );
}

/** The name of a live socket in `folder` other than `own`, the lowest first. Removes dead ones. */
async function liveOther(
  folder: string,
  address: string,
  own: string,
): Promise<string | undefined> {
  const names = (await fs.promises.readdir(folder)).sort();
  for (const name of names) {
    const pending = name.endsWith(PENDING);
    const published = pending ? name.slice(0, -PENDING.length) : name;
    if (name === own || !NAME.test(published)) continue;
    const alive = await isListening(path.join(address, name));
    if (!alive) await fs.promises.rm(path.join(folder, name), { force: true });
    else if (!pending) return name;
  }
  return undefined;
}

/** Only a refusal proves that nobody listens; whatever else fails counts as alive. */
function isListening(address: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(address);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => {
      resolve(error.code !== 'ECONNREFUSED' && error.code !== 'ENOENT');
    });
  });
}

function listen(address: string): Promise<Server> {
  const server = createServer((socket) => socket.destroy());
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    // Exclusive: in a worker of `node:cluster` the primary would hold it otherwise.
    server.listen({ path: address, exclusive: true }, () => {
      server.removeListener('error', reject);
      resolve(server);
    });
  });
}

/** A path to `folder` short enough for a socket address: itself, or a symbolic link to it. */
async function shortenedFolder(
  folder: string,
  nameBytes: number,
): Promise<{ folder: string; dispose: () => Promise<void> }> {
  if (Buffer.byteLength(folder) + 1 + nameBytes <= MAX_ADDRESS_BYTES) {
    return { folder, dispose: () => Promise.resolve() };
  }
  const holder = await fs.promises.mkdtemp(path.join(tmpdir(), 'quorate-'));
  const link = path.join(holder, 'd');
  await fs.promises.symlink(folder, link, 'dir');
  return { folder: link, dispose: () => fs.promises.rm(holder, { recursive: true, force: true }) };
}
