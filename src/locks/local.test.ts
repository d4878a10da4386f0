import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { seededRandom } from '../core/random.ts';
import { settled, VirtualClock } from '../testing/virtual-clock.ts';
import { type LocalOptions, localElections, localLocks, localSpace } from './local.ts';
import type { Lock } from './locks.ts';
import { elected } from './testing.ts';

/** Two users of one space, under a clock of the test. */
function pair(options: LocalOptions = {}) {
  const clock = new VirtualClock();
  const space = localSpace();
  const locks = localLocks({ clock, space, ...options });
  const other = localLocks({ clock, space, ...options, owner: 'other' });
  return { clock, space, locks, other };
}

describe('locks in one process', () => {
  it('are granted in the order of arrival, with tokens that grow, to one at a time', async () => {
    const { locks, other, space } = pair();
    const order: number[] = [];
    let tokens: bigint[] = [];
    let inside = 0;
    await Promise.all(
      Array.from({ length: 50 }, (_, i) =>
        (i % 2 === 0 ? locks : other).run('n', async ({ fencingToken }) => {
          assert.equal(++inside, 1);
          order.push(i);
          tokens.push(fencingToken);
          await settled();
          inside -= 1;
        }),
      ),
    );
    assert.deepEqual(order, [...order.keys()]);
    tokens = tokens.filter((token, i) => i > 0 && token <= tokens[i - 1]!);
    assert.deepEqual(tokens, []);
    assert.equal(space.size, 0);
  });

  it('cost nothing by name once nobody holds it', async () => {
    const { locks, space } = pair();
    for (let i = 0; i < 1000; i++) await (await locks.acquire(`n${i}`)).release();
    assert.equal(space.size, 0);
    const busy = await locks.acquire('n');
    assert.equal(await locks.tryAcquire('n'), undefined);
    assert.equal(space.size, 1);
    await busy.release();
    assert.equal(space.size, 0);
  });

  it('leave the queue at once when time or signal ends the wait, and let those behind go on', async () => {
    const { locks, other, clock } = pair();
    const reader = await locks.acquire('n', { shared: true });
    const stop = new AbortController();
    const aborted = assert.rejects(locks.acquire('n', { signal: stop.signal }), /enough/);
    const late = assert.rejects(other.acquire('n', { wait: '2s' }), { code: 'ERR_LOCK_BUSY' });
    const behind = other.acquire('n', { shared: true, wait: '1m' });
    assert.equal((await locks.holders('n')).length, 4);
    stop.abort(new Error('enough'));
    await aborted;
    assert.equal((await locks.holders('n')).length, 3);
    assert.equal(clock.pending, 2);
    await clock.advance(2000);
    await late;
    // The reader does not wait for the writers that are gone, and its timer is gone, too.
    (await behind).assertHeld();
    assert.equal(clock.pending, 0);
    await Promise.all([reader.release(), (await behind).release()]);
  });

  it('leave no listener at the signal of one who was served', async () => {
    const { locks } = pair();
    const { signal } = new AbortController();
    let listeners = 0;
    const { addEventListener: add, removeEventListener: remove } = signal;
    signal.addEventListener = (...args: Parameters<typeof add>) => {
      listeners += 1;
      add.apply(signal, args);
    };
    signal.removeEventListener = (...args: Parameters<typeof remove>) => {
      listeners -= 1;
      remove.apply(signal, args);
    };
    const first = await locks.acquire('n', { signal });
    const second = locks.acquire('n', { signal });
    assert.equal(listeners, 1);
    await first.release();
    await (await second).release();
    assert.equal(listeners, 0);
  });

  it('refuse one more than may wait with ERR_BUSY, and take him when there is room', async () => {
    const { locks, other } = pair({ maxWaiting: 2 });
    const held = await locks.acquire('n');
    const waiting = [locks.acquire('n'), other.acquire('n')];
    await assert.rejects(other.acquire('n'), { code: 'ERR_BUSY', retryable: true });
    await held.release();
    const third = other.acquire('n');
    for (const lock of [...waiting, third]) await (await lock).release();
    const none = localLocks({ maxWaiting: 0 });
    const alone = await none.acquire('n');
    await assert.rejects(none.acquire('n'), { code: 'ERR_BUSY' });
    await alone.release();
    await (await none.acquire('n', { permits: 3 })).release();
  });

  it('are lost by force, as stolen, before the next one is served; he keeps his', async () => {
    const { locks, other } = pair();
    const readers = [
      await locks.acquire('n', { shared: true }),
      await other.acquire('n', { shared: true }),
    ];
    const events: string[] = [];
    for (const { lost } of readers) lost.addEventListener('abort', () => events.push('lost'));
    const next = locks.acquire('n').then((lock) => {
      events.push('served');
      return lock;
    });
    const evicted = await other.forceRelease('n');
    (await next).assertHeld();
    assert.deepEqual(events, ['lost', 'lost', 'served']);
    assert.deepEqual(
      evicted.map(({ holder, waiting }) => [holder, waiting]),
      readers.map(({ holder }) => [holder, false]),
    );
    assert.equal(evicted[1]!.owner, 'other');
    for (const reader of readers) {
      assert.equal(reader.lost.reason.loss, 'stolen');
      assert.equal(reader.remainingMs(), 0);
      await reader.release();
    }
    (await next).assertHeld();
  });

  it('end with close: waits with ERR_CLOSED, what is held is lost; others of the space go on', async () => {
    const { locks, other } = pair();
    const held = await locks.acquire('n');
    const waits = [locks.acquire('n'), locks.acquire('n')].map((wait) =>
      assert.rejects(wait, { code: 'ERR_CLOSED' }),
    );
    const others = other.acquire('n');
    await locks.close();
    await locks.close();
    await Promise.all(waits);
    assert.throws(() => held.assertHeld(), { code: 'ERR_LOCK_LOST', loss: 'session' });
    (await others).assertHeld();
    assert.equal((await other.holders('n')).length, 1);
    await assert.rejects(locks.acquire('m'), { code: 'ERR_CLOSED' });
    await assert.rejects(locks.tryAcquire('m'), { code: 'ERR_CLOSED' });
  });

  it('hold and wait as the rule of claims says, whatever is mixed under a name', async () => {
    const random = seededRandom(7);
    for (let round = 0; round < 200; round++) {
      const { locks, space } = pair();
      /** All that stand in the queue, by the rule: the model. */
      const queue: { permits: number; lock: Lock | undefined; stop: AbortController }[] = [];
      for (let step = 0; step < 30; step++) {
        if (queue.length === 0 || random.below(5) < 3) {
          const permits = [1, 2, 3, 5, Number.POSITIVE_INFINITY][random.below(5)]!;
          const how = permits === Number.POSITIVE_INFINITY ? { shared: true } : { permits };
          const one = { permits, lock: undefined as Lock | undefined, stop: new AbortController() };
          queue.push(one);
          locks.acquire('n', { ...how, signal: one.stop.signal }).then(
            (lock) => (one.lock = lock),
            () => undefined,
          );
        } else {
          const [one] = queue.splice(random.below(queue.length), 1);
          if (one!.lock !== undefined) await one!.lock.release();
          else one!.stop.abort();
        }
        await undefined;
        await undefined;
        const held = queue.map(({ lock }) => lock !== undefined);
        const byRule = queue.map((_, i) => {
          return i < Math.min(...queue.slice(0, i + 1).map(({ permits }) => permits));
        });
        assert.deepEqual(held, byRule, `round ${round}, step ${step}`);
        const shown = await locks.holders('n');
        assert.deepEqual(
          shown.map(({ waiting }) => !waiting),
          byRule,
        );
      }
      await locks.close();
      assert.equal(space.size, 0);
    }
  });

  it('refuse options that make no sense', async () => {
    const refused = { code: 'ERR_INVALID_ARGUMENT' };
    assert.throws(() => localLocks({ maxWaiting: -1 }), refused);
    assert.throws(() => localLocks({ maxWaiting: Number.NaN }), refused);
    assert.throws(() => localLocks({ space: { size: 0 } }), refused);
    assert.throws(() => localLocks({ owner: 'x'.repeat(2000) }), refused);
    for (const name of ['', 'x'.repeat(10_000), '\u00e9'.repeat(600), 7 as never]) {
      await assert.rejects(localLocks().acquire(name), refused);
      await assert.rejects(localLocks().tryAcquire(name), refused);
    }
    const longest = '\u00e9'.repeat(512);
    await (await localLocks().acquire(longest)).release();
    await assert.rejects(localLocks().acquire('n', { wait: 'soon' }), refused);
    await assert.rejects(
      localLocks().acquire('n', { signal: AbortSignal.abort(Error('no')) }),
      /no/,
    );
  });
});

describe('elections in one process', () => {
  it('have one leader at a time, whom others see change', async () => {
    const space = localSpace();
    const elections = localElections({ space });
    const seen: (string | undefined)[] = [];
    const stop = new AbortController();
    const observing = (async () => {
      for await (const leader of elections.observe('e', { signal: stop.signal })) {
        seen.push(leader?.value.toString());
      }
    })();
    const first = await elected(elections, 'e', 'one');
    await settled();
    const second = elected(localElections({ space }), 'e', 'two');
    await settled();
    const said = Buffer.from('uno');
    await first.proclaim(said);
    said.fill(0);
    await settled();
    assert.equal((await elections.leader('e'))!.value.toString(), 'uno');
    await first.resign();
    const { fencingToken } = await second;
    assert.ok(fencingToken > first.fencingToken);
    assert.equal((await elections.leader('e'))!.fencingToken, fencingToken);
    await settled();
    await (await second).resign();
    await settled();
    await assert.rejects(first.proclaim('late'), { code: 'ERR_NOT_ELECTED' });
    assert.equal(await elections.leader('e'), undefined);
    assert.deepEqual(seen, [undefined, 'one', 'uno', 'two', undefined]);
    stop.abort(new Error('seen enough'));
    await assert.rejects(observing, /seen enough/);
  });

  it('bound how many observe', async () => {
    const elections = localElections({ maxWaiting: 1 });
    const next = () => elections.observe('e')[Symbol.asyncIterator]();
    const [one, two] = [next(), next()];
    await Promise.all([one.next(), two.next()]);
    const change = one.next();
    await settled();
    await assert.rejects(two.next(), { code: 'ERR_BUSY' });
    const term = await elected(elections, 'e', 'v');
    assert.equal((await change).value.value.toString(), 'v');
    await term.resign();
  });
});
