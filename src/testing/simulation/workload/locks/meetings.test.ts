import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Held } from '../../../../locks/locks.ts';
import {
  DeleteRangeRequest,
  InternalRaftRequest,
  PutRequest,
  RequestOp,
  TxnRequest,
} from '../../../../proto/etcd.ts';
import { Oracle } from '../../checks/oracle.ts';
import { entry, NotedWorld } from '../../checks/testing.ts';
import { BarrierBook, LatchBook } from './meetings.ts';

class Scene {
  readonly world = new NotedWorld();
  readonly oracle = new Oracle(1);
  #index = 0;

  /** All of them in one revision. */
  put(...pairs: readonly (readonly [key: string, value: string])[]): void {
    const success = pairs.map(([key, value]) => {
      return RequestOp.create({ requestPut: PutRequest.create({ key, value }) });
    });
    this.#apply({ txn: TxnRequest.create({ success }) });
  }

  delete(key: string): void {
    this.#apply({ deleteRange: DeleteRangeRequest.create({ key }) });
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

/** A place that may be trusted for a second. */
const place: Held = {
  lost: new AbortController().signal,
  assertHeld: () => undefined,
  remainingMs: () => 1000,
  release: async () => undefined,
  [Symbol.asyncDispose]: async () => undefined,
};

describe('the book of latches', () => {
  it('sees one that opens early, and one that counts a call twice', () => {
    const scene = new Scene();
    const latches = new LatchBook(scene.world, scene.oracle, 2);
    scene.put(['C-0', '2']);
    latches.begun('C-0');
    scene.put(['C-0/a', '']);
    latches.opened('C-0');
    scene.expect('latch-early');
    scene.put(['C-0/b', '']);
    scene.expect('latch-early', 'latch-counted-twice');
    latches.opened('C-0');
    scene.expect('latch-early', 'latch-counted-twice');
  });

  it('counts each life of a latch by itself', () => {
    const scene = new Scene();
    const latches = new LatchBook(scene.world, scene.oracle, 2);
    for (const key of ['C-0/a', 'C-0/b']) {
      latches.begun('C-0');
      scene.put([key, '']);
      scene.delete(key);
    }
    latches.opened('C-0');
    scene.expect('latch-early');
  });
});

describe('the book of a barrier', () => {
  const two = (scene: Scene): BarrierBook => {
    const barriers = new BarrierBook(scene.world, scene.oracle, 2, 0);
    scene.put(['B-0/1', 'one']);
    scene.put(['B-0/2', 'two']);
    return barriers;
  };

  it('finds nothing wrong with those who begin and end together', () => {
    const scene = new Scene();
    const barriers = two(scene);
    scene.put(['B-0/1', 'one'], ['B-0/2', 'two']);
    barriers.entered('one', place);
    barriers.entered('two', place);
    const round = barriers.leaves('one')!;
    barriers.leaves('two');
    scene.delete('B-0/1');
    scene.delete('B-0/2');
    barriers.allLeft('one', round);
    scene.expect();
    assert.deepEqual(barriers.left(), []);
  });

  it('sees who is inside alone, and who has left before the others', () => {
    const scene = new Scene();
    const barriers = two(scene);
    barriers.entered('one', place);
    scene.expect('barrier-early');
    scene.put(['B-0/1', 'one']);
    barriers.entered('one', place);
    scene.expect('barrier-early', 'barrier-early');
    const other = new Scene();
    const early = two(other);
    other.put(['B-0/1', 'one'], ['B-0/2', 'two']);
    early.entered('one', place);
    early.entered('two', place);
    const round = early.leaves('one')!;
    other.delete('B-0/1');
    early.allLeft('one', round);
    other.expect('barrier-left-early', 'barrier-left-early');
  });

  it('sees a round that begins while one of the round before is inside', () => {
    const scene = new Scene();
    two(scene);
    scene.put(['B-0/1', 'one'], ['B-0/2', 'two']);
    scene.put(['B-0/3', 'three']);
    scene.put(['B-0/3', 'three']);
    assert.ok(scene.world.violated.includes('barrier-overlap'));
  });
});
