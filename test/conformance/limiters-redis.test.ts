/** The suite of limiters on a real Redis, with each client. */
import { after, before, describe } from 'node:test';
import type { LimitersTarget } from '../../src/conformance/index.ts';
import { redisLimiter } from '../../src/drivers/redis/index.ts';
import {
  CLIENTS,
  missingRedis,
  type OpenClient,
  openClient,
  RedisServer,
} from '../support/redis.ts';
import { limiterSuite } from './limiters-support.ts';

for (const kind of CLIENTS) {
  describe(`limiters on Redis with ${kind}`, { skip: missingRedis() }, () => {
    let server: RedisServer;
    let clients: readonly OpenClient[];
    before(async () => {
      server = await RedisServer.start();
      clients = [await openClient(kind, server.port), await openClient(kind, server.port)];
    });
    after(async () => {
      for (const { close } of clients) close();
      await server.close();
    });
    let opened = 0;
    const target: LimitersTarget = {
      // A busy machine is not a store that is down.
      open: (request) =>
        redisLimiter(clients[opened++ % 2]!.client, { timeout: '20s', ...request }),
      leftovers: (prefix) => server.keys(prefix),
    };
    limiterSuite(() => target);
  });
}
