import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { KeyValue } from '../../../kv/kv.ts';
import { InternalRaftRequest } from '../../../proto/etcd.ts';
import { Oracle } from '../checks/oracle.ts';
import { entry, NotedWorld } from '../checks/testing.ts';
import { History } from './history.ts';

class Scene {
  readonly world = new NotedWorld();
  readonly oracle = new Oracle(2);
  readonly history = new History(this.world, this.oracle);
  #index = 0;

  /** Consensus chooses a put; returns its revision. */
  choose(key: string, value: string): number {
    const put = { key, value, lease: 0n, prevKv: false, ignoreValue: false, ignoreLease: false };
    const data = InternalRaftRequest.encode(InternalRaftRequest.create({ put }));
    this.#index += 1;
    this.oracle.apply({ ...entry(this.#index, 1), data });
    return this.oracle.revision;
  }

  found(key: string): KeyValue {
    const { value, revision, createRevision, version, lease } = this.oracle.valueAt(
      key,
      this.oracle.revision,
    )!;
    const [keyBytes, valueBytes] = [Buffer.from(key), Buffer.from(value)];
    return {
      key: keyBytes,
      value: valueBytes,
      modRevision: revision,
      createRevision,
      version,
      lease,
    };
  }

  expect(...properties: readonly string[]): void {
    assert.deepEqual(this.world.violated, properties, this.world.messages.join('; '));
  }
}

test('answers that agree with the history break nothing', () => {
  const scene = new Scene();
  const put = scene.history.begin(1, 'put', 'k1', 'x');
  scene.history.wrote(put, scene.choose('k1', 'x'));
  const get = scene.history.begin(2, 'get', 'k1');
  scene.history.read(get, scene.oracle.revision, scene.found('k1'));
  const swap = scene.history.begin(1, 'compare-and-set', 'k1', 'y', 2);
  scene.history.wroteOnCondition(swap, scene.choose('k1', 'y'));
  const late = scene.history.begin(2, 'compare-and-set', 'k1', 'z', 2);
  scene.history.refusedByCondition(late, scene.oracle.revision);
  scene.expect();
});

test('a write that was acknowledged and is not in the history is lost', () => {
  const scene = new Scene();
  const put = scene.history.begin(1, 'put', 'k1', 'x');
  scene.history.wrote(put, 2);
  scene.expect('acknowledged-lost');
});

test('a value that nobody wrote, or that is there twice, is seen', () => {
  const scene = new Scene();
  scene.choose('k1', 'x');
  const put = scene.history.begin(1, 'put', 'k1', 'y');
  scene.history.wrote(put, scene.choose('k1', 'y'));
  scene.choose('k1', 'y');
  scene.expect('phantom', 'applied-twice');
});

test('a write that was refused as not applied may never be in the history', () => {
  const scene = new Scene();
  const early = scene.history.begin(1, 'put', 'k1', 'x');
  const late = scene.history.begin(1, 'put', 'k1', 'y');
  scene.choose('k1', 'x');
  scene.history.failed(early, 'not-applied');
  scene.history.failed(late, 'not-applied');
  scene.choose('k1', 'y');
  scene.expect('refused-but-applied', 'refused-but-applied');
});

test('a write whose outcome is unknown may be in the history, once', () => {
  const scene = new Scene();
  const put = scene.history.begin(1, 'put', 'k1', 'x');
  scene.history.failed(put, 'unknown');
  scene.choose('k1', 'x');
  scene.expect();
});

test('a read that is older than what anyone was told before it began is stale', () => {
  const scene = new Scene();
  const first = scene.choose.bind(scene);
  const put = scene.history.begin(1, 'put', 'k1', 'x');
  const concurrent = scene.history.begin(2, 'get', 'k1');
  scene.history.wrote(put, first('k1', 'x'));
  scene.history.read(concurrent, 1, undefined);
  scene.expect();
  const later = scene.history.begin(2, 'get', 'k1');
  scene.history.read(later, 1, undefined);
  scene.expect('stale-read');
});

test('a read that says what the history does not say at its revision is wrong', () => {
  const scene = new Scene();
  const put = scene.history.begin(1, 'put', 'k1', 'x');
  scene.history.wrote(put, scene.choose('k1', 'x'));
  const get = scene.history.begin(2, 'get', 'k1');
  scene.history.read(get, 2, undefined);
  scene.expect('wrong-answer');
});

test('a condition that is answered against the history is wrong', () => {
  const scene = new Scene();
  const put = scene.history.begin(1, 'put', 'k1', 'x');
  scene.history.wrote(put, scene.choose('k1', 'x'));
  const refused = scene.history.begin(1, 'compare-and-set', 'k1', 'y', 2);
  scene.history.refusedByCondition(refused, 2);
  const held = scene.history.begin(1, 'compare-and-set', 'k1', 'z', 0);
  scene.history.wroteOnCondition(held, scene.choose('k1', 'z'));
  scene.expect('wrong-answer', 'wrong-answer');
});
