import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Lock } from '../../../locks/locks.ts';
import { DeleteRangeRequest, InternalRaftRequest, PutRequest } from '../../../proto/etcd.ts';
import { Oracle } from '../checks/oracle.ts';
import { entry, NotedWorld } from '../checks/testing.ts';
import { FencedResource, watchLock } from './locker.ts';

/** A lock that may be trusted for so long. */
function lock(fencingToken: bigint, remainingMs: number): Lock {
  const nothing = async (): Promise<void> => undefined;
  return {
    name: 'lock',
    holder: '',
    fencingToken,
    lost: new AbortController().signal,
    assertHeld: () => undefined,
    remainingMs: () => remainingMs,
    release: nothing,
    [Symbol.asyncDispose]: nothing,
  };
}

function violations(play: (resource: FencedResource) => void): readonly string[] {
  const world = new NotedWorld();
  play(new FencedResource(world, 0));
  return world.violated;
}

test('one holder after the other, with tokens that grow, is as it should be', () => {
  const [first, second] = [lock(1n, 1000), lock(2n, 1000)];
  const seen = violations((resource) => {
    resource.granted(first);
    resource.write(first);
    resource.released(first);
    resource.granted(second);
    resource.write(second);
  });
  assert.deepEqual(seen, []);
});

test('a holder whose time is over may be succeeded, and its late write is refused', () => {
  const [old, young] = [lock(1n, 0), lock(2n, 1000)];
  const seen = violations((resource) => {
    resource.granted(old);
    resource.granted(young);
    resource.write(young);
    resource.write(old);
  });
  assert.deepEqual(seen, []);
});

test('a grant while another may trust its lock is seen', () => {
  const seen = violations((resource) => {
    resource.granted(lock(1n, 1000));
    resource.granted(lock(2n, 1000));
  });
  assert.deepEqual(seen, ['lock-exclusion']);
});

test('a holder that may trust its lock and comes too late is seen', () => {
  const [old, young] = [lock(1n, 1000), lock(2n, 1000)];
  const seen = violations((resource) => {
    resource.granted(old);
    resource.released(old);
    resource.granted(young);
    resource.write(young);
    resource.write(old);
  });
  assert.deepEqual(seen, ['lock-exclusion']);
});

test('a token that is granted twice, or that falls, is seen', () => {
  const seen = violations((resource) => {
    const first = lock(2n, 1000);
    resource.granted(first);
    resource.write(first);
    resource.released(first);
    resource.granted(lock(2n, 1000));
  });
  assert.deepEqual(seen, ['lock-token']);
  const fallen = violations((resource) => {
    const first = lock(2n, 1000);
    resource.granted(first);
    resource.write(first);
    resource.released(first);
    resource.granted(lock(1n, 1000));
  });
  assert.deepEqual(fallen, ['lock-token']);
});

test('a holder that may trust its lock when the history has lost its key is seen', () => {
  const world = new NotedWorld();
  const oracle = new Oracle(1);
  const resource = new FencedResource(world, 0);
  watchLock(oracle, resource);
  const key = 'lock/1';
  const apply = (index: number, request: Parameters<typeof InternalRaftRequest.create>[0]): void =>
    oracle.apply({
      ...entry(index, 1),
      data: InternalRaftRequest.encode(InternalRaftRequest.create(request)),
    });
  const take = (index: number): void => apply(index, { put: PutRequest.create({ key }) });
  const lose = (index: number): void =>
    apply(index, { deleteRange: DeleteRangeRequest.create({ key }) });
  take(1);
  resource.granted(lock(BigInt(oracle.revision), 0));
  lose(2);
  assert.deepEqual(world.violated, []);
  take(3);
  resource.granted(lock(BigInt(oracle.revision), 1000));
  lose(4);
  assert.deepEqual(world.violated, ['lock-exclusion']);
});
