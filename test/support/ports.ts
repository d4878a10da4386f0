/** Ports for nodes that a test starts. */
import { createServer } from 'node:net';

const FIRST_PORT = 12_000;
/** From here on a system may give a port to whoever connects, while the node that owned it restarts. */
const FIRST_EPHEMERAL_PORT = 32_768;

/** Ports that were free a moment ago, and that no system gives away by itself. */
export async function freePorts(count: number): Promise<number[]> {
  const ports = new Set<number>();
  while (ports.size < count) {
    const port = FIRST_PORT + Math.floor(Math.random() * (FIRST_EPHEMERAL_PORT - FIRST_PORT));
    if (!ports.has(port) && (await isFree(port))) ports.add(port);
  }
  return [...ports];
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}
