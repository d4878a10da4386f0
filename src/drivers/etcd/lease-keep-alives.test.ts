import assert from 'node:assert/strict';
import test from 'node:test';
import { isQuorateError } from '../../core/errors.ts';
import * as codec from '../../proto/etcd.ts';
import { etcdService } from './index.ts';
import { LEASE_KEEP_ALIVE_PATH } from './methods.ts';
import {
  type FakeCall,
  type FakeHandler,
  fakeEtcd,
  fastClock,
  HEADER,
  relayTo,
} from './testing.ts';

const idOf = (message: Buffer): bigint => codec.LeaseKeepAliveRequest.decode(message).id;

function answer(call: FakeCall, id: bigint, ttl: number): void {
  call.send(codec.LeaseKeepAliveResponse, { header: HEADER, id, ttl });
}

/** Serves the keep-alive stream with `handler`. */
const serving = (handler: FakeHandler) => fakeEtcd({ [LEASE_KEEP_ALIVE_PATH]: handler });

test('renewals of several leases share one stream and get their own replies', async () => {
  const waiting: bigint[] = [];
  // Answers only when all six are here, leases in another order than asked.
  await using fake = await serving((call, message) => {
    waiting.push(idOf(message));
    if (waiting.length < 6) return;
    for (const id of [2n, -3n, 1n]) {
      answer(call, id, 10);
      answer(call, id, 20);
    }
  });
  const service = etcdService({ endpoints: fake.endpoint });
  const asked = [1n, 2n, 1n, -3n, 2n, -3n];
  const replies = await Promise.all(asked.map((id) => service.leaseKeepAlive({ id })));
  assert.deepEqual(
    replies.map(({ id, ttl }) => `${id}: ${ttl}`),
    ['1: 10', '2: 10', '1: 20', '-3: 10', '2: 20', '-3: 20'],
  );
  assert.equal(fake.calls.length, 1);
  await service.close();
});

test('a lease that is gone is answered by a TTL of zero', async () => {
  await using fake = await serving((call, message) => answer(call, idOf(message), 0));
  const service = etcdService({ endpoints: fake.endpoint });
  assert.equal((await service.leaseKeepAlive({ id: 5n })).ttl, 0);
  await service.close();
});

test('what waits when the stream breaks is sent again on a new one', async () => {
  let streams = 0;
  let current: unknown;
  await using fake = await serving((call, message) => {
    if (current !== call) {
      current = call;
      streams++;
    }
    if (streams === 1) call.cut();
    else if (streams === 2) call.finish(14, 'etcdserver: no leader');
    else answer(call, idOf(message), 7);
  });
  const service = etcdService({ endpoints: fake.endpoint });
  const replies = await Promise.all([1n, 2n].map((id) => service.leaseKeepAlive({ id })));
  assert.deepEqual(
    replies.map(({ ttl }) => ttl),
    [7, 7],
  );
  assert.equal(streams, 3);
  await service.close();
});

test('a dead link is left for another member before the lease runs out', async () => {
  const handler: FakeHandler = (call, message) => answer(call, idOf(message), 5);
  await using one = await serving(handler);
  await using two = await serving(handler);
  await using toOne = await relayTo(one.endpoint);
  await using toTwo = await relayTo(two.endpoint);
  const endpoints = [toOne.endpoint, toTwo.endpoint];
  const service = etcdService({ endpoints, clock: fastClock(5) });
  await service.leaseKeepAlive({ id: 1n });
  const [used, spare] = one.calls.length > 0 ? [toOne, two] : [toTwo, one];
  used.freeze();
  assert.equal((await service.leaseKeepAlive({ id: 1n })).ttl, 5);
  assert.equal(spare.calls.length, 1);
  await service.close();
});

test('where the only link is dead a renewal ends as unknown at its deadline', async () => {
  await using fake = await serving((call, message) => answer(call, idOf(message), 5));
  await using relay = await relayTo(fake.endpoint);
  const service = etcdService({ endpoints: relay.endpoint, clock: fastClock(20) });
  await service.leaseKeepAlive({ id: 1n });
  relay.freeze();
  await assert.rejects(service.leaseKeepAlive({ id: 1n }), (error) => {
    assert.ok(isQuorateError(error, 'ERR_TIMEOUT'));
    assert.equal(error.outcome, 'unknown');
    return true;
  });
  await service.close();
});

test('a reply that never comes is an error at the deadline, not silence', async () => {
  await using fake = await serving(() => undefined);
  const service = etcdService({ endpoints: fake.endpoint, timeoutMs: 80 });
  await assert.rejects(service.leaseKeepAlive({ id: 0xabcn }), (error) => {
    assert.ok(isQuorateError(error, 'ERR_TIMEOUT'));
    assert.match(error.message, /^renewal of lease abc: no answer from 127\.0\.0\.1:\d+ in time/);
    return true;
  });
  await service.close();
});

test('an aborted renewal rejects with the reason, and its late reply goes to nobody else', async () => {
  let late: (() => void) | undefined;
  let arrived: () => void = () => undefined;
  const asked = new Promise<void>((resolve) => {
    arrived = resolve;
  });
  await using fake = await serving((call, message) => {
    const id = idOf(message);
    if (late === undefined) {
      late = () => answer(call, id, 1);
      arrived();
    } else {
      late();
      answer(call, id, 2);
    }
  });
  const service = etcdService({ endpoints: fake.endpoint });
  const controller = new AbortController();
  const first = service.leaseKeepAlive({ id: 9n }, { signal: controller.signal });
  await asked;
  controller.abort('stop');
  await assert.rejects(first, (reason) => reason === 'stop');
  assert.equal((await service.leaseKeepAlive({ id: 9n })).ttl, 2);
  await service.close();
});

test('a refusal by the server is for the oldest renewal, the others go on', async () => {
  let refused = false;
  await using fake = await serving((call, message) => {
    const id = idOf(message);
    if (refused) {
      answer(call, id, 3);
    } else {
      refused = true;
      call.finish(7, 'etcdserver: permission denied');
    }
  });
  const service = etcdService({ endpoints: fake.endpoint });
  const [first, second] = await Promise.allSettled([
    service.leaseKeepAlive({ id: 1n }),
    service.leaseKeepAlive({ id: 2n }),
  ]);
  assert.ok(first?.status === 'rejected' && isQuorateError(first.reason, 'ERR_PERMISSION_DENIED'));
  assert.equal(second?.status === 'fulfilled' && second.value.ttl, 3);
  await service.close();
});

test('closing the client rejects renewals that wait, and later ones', async () => {
  await using fake = await serving(() => undefined);
  const service = etcdService({ endpoints: fake.endpoint });
  const waiting = assert.rejects(service.leaseKeepAlive({ id: 1n }), (error) =>
    isQuorateError(error, 'ERR_CLOSED'),
  );
  await service.close();
  await waiting;
  await assert.rejects(service.leaseKeepAlive({ id: 1n }), (error) =>
    isQuorateError(error, 'ERR_CLOSED'),
  );
});

test('where nothing listens a renewal fails at once', async () => {
  const fake = await serving(() => undefined);
  await fake[Symbol.asyncDispose]();
  const service = etcdService({ endpoints: fake.endpoint });
  await assert.rejects(service.leaseKeepAlive({ id: 1n }), (error) =>
    isQuorateError(error, 'ERR_UNAVAILABLE'),
  );
  await service.close();
});
