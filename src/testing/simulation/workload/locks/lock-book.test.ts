import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { DeleteRangeRequest, InternalRaftRequest, PutRequest } from '../../../../proto/etcd.ts';
import { Oracle } from '../../checks/oracle.ts';
import { entry, NotedWorld } from '../../checks/testing.ts';
import { type Grant, LEADER, LockBook, PROCLAIMED } from './lock-book.ts';

const SHARED = Number.POSITIVE_INFINITY;

class Scene {
  readonly world = new NotedWorld();
  readonly oracle = new Oracle(1);
  isPaused = false;
  readonly book = new LockBook(this.world, this.oracle, 0);
  #index = 0;

  put(key: string, value = 'someone'): bigint {
    this.#apply({ put: PutRequest.create({ key, value }) });
    return BigInt(this.oracle.revision);
  }

  delete(key: string): void {
    this.#apply({ deleteRange: DeleteRangeRequest.create({ key }) });
  }

  /** Its holder may trust it for a second. */
  grant(key: string, token: bigint, permits = 1, remainingMs = 1000): Grant {
    const name = key.split('/')[0]!;
    const claim = { fencingToken: token, holder: key, remainingMs: () => remainingMs };
    const grant = { name, permits, claim, isPaused: () => this.isPaused };
    this.book.granted(grant);
    return grant;
  }

  expect(...properties: readonly string[]): void {
    assert.deepEqual(this.world.violated, properties, this.world.messages.join('; '));
  }

  #apply(request: Parameters<typeof InternalRaftRequest.create>[0]): void {
    this.#index += 1;
    const data = InternalRaftRequest.encode(InternalRaftRequest.create(request));
    this.oracle.apply({ ...entry(this.#index, 1), data });
  }
}

describe('the book of locks', () => {
  it('finds nothing wrong with one holder after the other, nor with readers together', () => {
    const scene = new Scene();
    const [first, second] = [scene.put('L-a/1'), scene.put('L-a/2')];
    const grant = scene.grant('L-a/1', first);
    scene.book.worked(grant);
    scene.book.ended(grant);
    scene.delete('L-a/1');
    scene.grant('L-a/2', second);
    const readers = ['L-b/1~shared', 'L-b/2~shared', 'L-b/3~shared'];
    const tokens = readers.map((key) => scene.put(key));
    for (const [at, key] of readers.entries()) scene.grant(key, tokens[at]!, SHARED);
    scene.expect();
  });

  it('sees a grant behind a claim that holds', () => {
    const scene = new Scene();
    scene.put('L-a/1');
    scene.grant('L-a/2', scene.put('L-a/2'));
    scene.expect('lock-order');
  });

  it('sees a reader that passes a writer, and one too many in a semaphore', () => {
    const scene = new Scene();
    scene.put('L-a/1');
    scene.grant('L-a/2~shared', scene.put('L-a/2~shared'), SHARED);
    scene.expect('lock-order');
    const other = new Scene();
    const keys = ['L-s/1~2', 'L-s/2~2', 'L-s/3~2'];
    for (const key of keys) other.grant(key, other.put(key), 2);
    other.expect('lock-order', 'lock-exclusion');
  });

  it('sees a holder that may trust a lock whose key is gone, before and after the grant', () => {
    const scene = new Scene();
    scene.grant('L-a/1', scene.put('L-a/1'));
    scene.delete('L-a/1');
    scene.expect('lock-exclusion');
    const late = new Scene();
    const token = late.put('L-a/1');
    late.delete('L-a/1');
    late.grant('L-a/1', token, 1, 0);
    late.expect();
    const next = late.put('L-a/1');
    late.delete('L-a/1');
    late.grant('L-a/1', next);
    late.expect('lock-exclusion');
  });

  it('lets an operator take a lock away, and nobody else', () => {
    const scene = new Scene();
    scene.grant('L-a/1', scene.put('L-a/1'));
    const end = scene.book.evicts('L-a');
    scene.delete('L-a/1');
    end();
    scene.expect();
    scene.grant('L-a/2', scene.put('L-a/2'));
    scene.delete('L-a/2');
    scene.expect('lock-exclusion');
  });

  it('sees a token that is granted twice, or after a higher one has worked', () => {
    const scene = new Scene();
    const token = scene.put('T-a');
    scene.book.ended(scene.grant('T-a', token));
    scene.book.ended(scene.grant('T-a', token));
    scene.expect('lock-token');
    const fallen = new Scene();
    const [low, high] = [fallen.put('L-a/1'), fallen.put('L-a/2')];
    const grant = fallen.grant('L-a/2', high, 1, 0);
    fallen.book.worked(grant);
    fallen.grant('L-a/1', low);
    fallen.expect('lock-order', 'lock-token');
  });

  it('sees who works under a lock whose key has gone while it was paused', () => {
    const scene = new Scene();
    const grant = scene.grant('L-a/1', scene.put('L-a/1'));
    scene.isPaused = true;
    scene.delete('L-a/1');
    scene.expect();
    scene.isPaused = false;
    scene.book.worked(grant);
    scene.expect('lock-exclusion');
  });

  it('sees a grant to whom has lost its place in the queue, whoever took it', () => {
    const scene = new Scene();
    scene.put('L-a/1');
    const token = scene.put('L-a/2');
    assert.deepEqual(
      scene.book.waiting('L-a').map(({ key }) => key),
      ['L-a/2'],
    );
    scene.book.evicts('L-a');
    scene.delete('L-a/2');
    scene.delete('L-a/1');
    scene.grant('L-a/2', token);
    scene.expect('lock-place');
  });

  it('knows who is first, and what is left', () => {
    const scene = new Scene();
    const [first, second] = [scene.put(`${LEADER}/1`), scene.put(`${LEADER}/2`)];
    assert.ok(scene.book.isFirst(LEADER, first));
    assert.ok(!scene.book.isFirst(LEADER, second));
    scene.delete(`${LEADER}/1`);
    assert.ok(scene.book.isFirst(LEADER, second));
    assert.deepEqual(scene.book.left(), [`${LEADER}/2`]);
    scene.put(`${LEADER}/3`, `${PROCLAIMED}1.1`);
    scene.expect('election-proclaim');
  });
});
