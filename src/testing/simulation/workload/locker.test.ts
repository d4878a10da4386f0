import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Lock } from '../../../locks/locks.ts';
import { NotedWorld } from '../checks/testing.ts';
import { FencedResource } from './locker.ts';

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
