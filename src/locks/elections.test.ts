import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { settled } from '../testing/virtual-clock.ts';
import type { Elections, Leader } from './elections.ts';
import { kvElections } from './over-kv.ts';
import { elected, Store } from './testing.ts';

describe('elections over a store', () => {
  let store: Store;
  let elections: Elections;
  let other: Elections;

  beforeEach(() => {
    store = new Store();
    elections = kvElections(store.faulty, { clock: store.clock, ttl: '10s' });
    other = kvElections(store.kv, { clock: store.clock, ttl: '10s' });
  });
  afterEach(async () => {
    store.heal();
    await Promise.all([elections.close(), other.close()]);
    assert.deepEqual(await store.keys(), [], 'keys are left behind');
    assert.deepEqual(await store.kv.leases(), [], 'leases are left behind');
    await store.kv.close();
  });

  /** Keeps what `observe` delivers, as text. */
  function observed(stop: AbortController): {
    readonly seen: string[];
    readonly end: Promise<void>;
  } {
    const seen: string[] = [];
    const textOf = (leader: Leader | undefined): string => leader?.value.toString() ?? 'nobody';
    const end = (async () => {
      for await (const leader of other.observe('e', { signal: stop.signal })) {
        seen.push(textOf(leader));
      }
    })();
    return { seen, end };
  }

  it('elects the first who campaigns, and the next when it resigns', async () => {
    const first = await elected(elections, 'e', 'one');
    let isElected = false;
    const second = elected(other, 'e', 'two').then((leadership) => {
      isElected = true;
      return leadership;
    });
    await settled();
    assert.equal(isElected, false);
    assert.equal((await other.leader('e'))!.value.toString(), 'one');
    await first.resign();
    const leadership = await second;
    assert.ok(leadership.fencingToken > first.fencingToken);
    const leader = await elections.leader('e');
    assert.equal(leader!.value.toString(), 'two');
    assert.equal(leader!.fencingToken, leadership.fencingToken);
    assert.equal(leader!.holder, leadership.holder);
  });

  it('knows no leader where nobody campaigned', async () => {
    assert.equal(await elections.leader('e'), undefined);
  });

  it('shows observers the leader, its new values, its successors and nobody', async () => {
    const stop = new AbortController();
    const { seen, end } = observed(stop);
    await settled();
    const first = await elected(elections, 'e', 'one');
    await settled();
    await first.proclaim('uno');
    await settled();
    const second = elected(other, 'e', 'two');
    await settled();
    await first.resign();
    await settled();
    await (await second).resign();
    await settled();
    stop.abort(new Error('enough'));
    await assert.rejects(end, /enough/);
    assert.deepEqual(seen, ['nobody', 'one', 'uno', 'two', 'nobody']);
  });

  it('does not wake observers for those who queue up behind the leader', async () => {
    const stop = new AbortController();
    const leadership = await elected(elections, 'e', 'one');
    const { seen, end } = observed(stop);
    await settled();
    const second = elected(other, 'e', 'two', { signal: stop.signal });
    await settled();
    stop.abort(new Error('enough'));
    await assert.rejects(second, /enough/);
    await assert.rejects(end, /enough/);
    assert.deepEqual(seen, ['one']);
    await leadership.resign();
  });

  it('ends an observation when its reader leaves the loop', async () => {
    await elected(elections, 'e', 'one');
    for await (const leader of other.observe('e')) {
      assert.equal(leader!.value.toString(), 'one');
      break;
    }
  });

  it('refuses to proclaim for a leader that has lost, or was deposed', async () => {
    const deposed = await elected(elections, 'e', 'one');
    await store.kv.delete(deposed.holder);
    await assert.rejects(deposed.proclaim('uno'), { code: 'ERR_NOT_ELECTED' });
    assert.deepEqual(await store.keys(), []);
    const stalled = await elected(elections, 'f', 'one');
    store.clock.stall(10_001);
    assert.equal(stalled.lost.aborted, true);
    await assert.rejects(stalled.proclaim('uno'), { code: 'ERR_NOT_ELECTED' });
    assert.throws(() => stalled.assertHeld(), { code: 'ERR_NOT_ELECTED' });
  });

  it('keeps the lease on a proclaimed value', async () => {
    const leadership = await elected(elections, 'e', 'one');
    await leadership.proclaim('uno');
    await elections.close();
    assert.deepEqual(await store.keys(), []);
  });

  it('elects another when the leader is cut off from the store', async () => {
    const first = await elected(elections, 'e', 'one');
    const second = elected(other, 'e', 'two');
    await settled();
    store.inject('keepAlive', 'hang', 100);
    store.inject('revokeLease', 'refuse');
    await store.clock.advance(15_000);
    assert.equal(first.lost.aborted, true);
    (await second).assertHeld();
  });

  it('refuses names that are none', async () => {
    await assert.rejects(elected(elections, '', 'v'), { code: 'ERR_INVALID_ARGUMENT' });
    await assert.rejects(elections.leader(''), { code: 'ERR_INVALID_ARGUMENT' });
    await assert.rejects(
      async () => {
        for await (const _ of elections.observe('')) break;
      },
      { code: 'ERR_INVALID_ARGUMENT' },
    );
  });
});
