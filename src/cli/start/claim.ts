/** One `quorate start` a data folder, and clear words when something is in the way. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { CommandError } from '../io.ts';
import type { NodePlan } from './child-node.ts';

/**
 * Notes this process in the folder. The note gives the clear message; what really protects the data
 * is each node's own lock on its folder.
 *
 * @throws CommandError where the process of an older note still runs
 */
export function claimFolder(dataDir: string): { release(): void } {
  const path = join(dataDir, 'start.pid');
  for (;;) {
    try {
      writeFileSync(path, `${process.pid}\n`, { flag: 'wx' });
      return { release: () => rmSync(path, { force: true }) };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') {
        throw new CommandError(
          `${dataDir} cannot be written (${(error as Error).message}); choose another with --data-dir`,
        );
      }
    }
    const holder = Number(readFileSync(path, 'utf8'));
    if (isStart(holder)) {
      throw new CommandError(
        `process ${holder} already runs a cluster on ${dataDir}; use that one, stop it with Ctrl-C, or choose another folder with --data-dir`,
      );
    }
    rmSync(path, { force: true }); // its process died without tidying up
  }
}

/** Whether that process runs, and, where the system tells, is a `start`: pids are used again. */
function isStart(pid: number): boolean {
  if (!Number.isSafeInteger(pid) || pid <= 0 || pid === process.pid) return false;
  try {
    process.kill(pid, 0);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return false;
  }
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes('start');
  } catch {
    return true;
  }
}

/** @throws CommandError that names the ports in use */
export async function refuseBusyPorts(nodes: readonly NodePlan[]): Promise<void> {
  const busy: number[] = [];
  for (const { host, clientPort, peerPort } of nodes) {
    for (const port of [clientPort, peerPort]) if (!(await canListen(host, port))) busy.push(port);
  }
  if (busy.length === 0) return;
  const which = busy.length === 1 ? `port ${busy[0]} is` : `ports ${busy.join(', ')} are`;
  throw new CommandError(
    `${which} in use by another process (a cluster that already runs, or etcd?); stop it (\`ss -ltnp\` shows who it is), or choose others, such as --client-ports 3379,3381,3383`,
  );
}

function canListen(host: string, port: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') resolve(false);
      else reject(new CommandError(`cannot listen on ${host}:${port}: ${error.message}`));
    });
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(true)));
  });
}
