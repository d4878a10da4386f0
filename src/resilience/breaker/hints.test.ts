import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Kv } from '../../kv/kv.ts';
import { memoryKv } from '../../kv/memory-kv.ts';
import { settled, VirtualClock } from '../../testing/virtual-clock.ts';
import { type CircuitBreaker, circuitBreaker } from './circuit-breaker.ts';
import type { BreakerHints } from './hints.ts';
import { kvHints } from './kv-hints.ts';
import type { BreakerChange } from './options.ts';

/** Hints within a test: at once, and with what was told. */
class LocalHints {
  readonly told: string[] = [];
  readonly #members: { instance: string; onBroken: Map<string, (others: number) => void> }[] = [];
  readonly #broken = new Map<string, Set<string>>();

  of(instance: string): BreakerHints {
    const member = { instance, onBroken: new Map<string, (others: number) => void>() };
    this.#members.push(member);
    return {
      tell: (circuit, isBroken) => {
        this.told.push(`${instance} ${circuit} ${isBroken ? 'broken' : 'whole'}`);
        const instances = this.#broken.get(circuit) ?? new Set();
        this.#broken.set(circuit, instances);
        if (!isBroken) {
          instances.delete(instance);
          return;
        }
        instances.add(instance);
        for (const other of this.#members)
          if (other !== member)
            other.onBroken.get(circuit)?.(
              [...instances].filter((i) => i !== other.instance).length,
            );
      },
      listen: (circuit, onBroken) => {
        member.onBroken.set(circuit, onBroken);
        return () => member.onBroken.delete(circuit);
      },
    };
  }
}

function breakerOf(
  clock: VirtualClock,
  shared: BreakerHints,
  quorum = 2,
  onStateChange?: (change: BreakerChange) => void,
): CircuitBreaker {
  return circuitBreaker({
    name: 'stock',
    consecutive: 1,
    open: 1000,
    clock,
    hints: { shared, quorum },
    onStateChange,
  });
}

function end(breaker: CircuitBreaker, how: 'success' | 'failure'): void {
  const permit = breaker.allow();
  assert.ok(permit.ok, 'it was to be let in');
  permit[how]();
}

async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  for (let turn = 0; turn < 500; turn++) {
    if (await condition()) return;
    await settled();
  }
  assert.fail('it did not come to that');
}

describe('hints between circuit breakers', () => {
  it('break the circuit where so many others have, and each tries by itself', () => {
    const clock = new VirtualClock();
    const hints = new LocalHints();
    const changes: BreakerChange[] = [];
    const [a, b] = ['a', 'b'].map((instance) => breakerOf(clock, hints.of(instance)));
    const c = breakerOf(clock, hints.of('c'), 2, (change) => changes.push(change));
    end(a!, 'failure');
    assert.equal(c.state, 'closed', 'one is not enough');
    end(b!, 'failure');
    assert.equal(c.state, 'open');
    assert.equal(changes[0]!.reason, 'hints');
    clock.stall(1000);
    end(c, 'success');
    assert.equal(c.state, 'closed', 'though the others are broken yet');
    assert.deepEqual(hints.told, ['a stock broken', 'b stock broken']);
  });

  it('are told once, by those alone that have seen it themselves', () => {
    const clock = new VirtualClock();
    const hints = new LocalHints();
    const a = breakerOf(clock, hints.of('a'), 1);
    const b = breakerOf(clock, hints.of('b'), 1);
    end(a, 'failure');
    assert.equal(b.state, 'open');
    a.open();
    clock.stall(1000);
    end(a, 'failure');
    clock.stall(1000);
    end(a, 'success');
    b.close();
    b.open();
    b.close();
    assert.deepEqual(hints.told, ['a stock broken', 'a stock whole']);
    clock.stall(5000);
    end(b, 'failure');
    assert.equal(hints.told.at(-1), 'b stock broken');
  });

  it('leave a circuit alone that is open, tried or isolated', () => {
    const clock = new VirtualClock();
    const hints = new LocalHints();
    const a = breakerOf(clock, hints.of('a'), 1);
    const b = breakerOf(clock, hints.of('b'), 1);
    const isolation = b.isolate();
    end(a, 'failure');
    assert.equal(b.state, 'isolated');
    isolation.release();
    a.close();
    end(a, 'failure');
    assert.equal(b.state, 'half-open');
  });

  it('are neither heard nor told after the breaker was disposed of', () => {
    const clock = new VirtualClock();
    const hints = new LocalHints();
    const a = breakerOf(clock, hints.of('a'), 1);
    const b = breakerOf(clock, hints.of('b'), 1);
    end(a, 'failure');
    a[Symbol.dispose]();
    a[Symbol.dispose]();
    b[Symbol.dispose]();
    b.close();
    assert.deepEqual(hints.told, ['a stock broken', 'a stock whole']);
    end(b, 'failure');
    assert.equal(hints.told.length, 2);
    b.close();
    end(breakerOf(clock, hints.of('c'), 1), 'failure');
    assert.equal(b.state, 'closed');
  });

  it('need a quorum', () => {
    const hints = { shared: new LocalHints().of('a'), quorum: 0 };
    assert.throws(() => circuitBreaker({ hints }), { code: 'ERR_INVALID_ARGUMENT' });
  });

  it('may fail to be told', () => {
    const clock = new VirtualClock();
    const broken: BreakerHints = {
      tell: () => {
        throw new Error('no bus');
      },
      listen: () => () => undefined,
    };
    const changes: BreakerChange[] = [];
    const breaker = breakerOf(clock, broken, 1, (change) => changes.push(change));
    end(breaker, 'failure');
    assert.equal(breaker.state, 'open');
    assert.equal(changes.length, 1, 'who looks on is told all the same');
  });
});

describe('hints over a store', () => {
  it('break the circuit where so many others have, until they take it back', async () => {
    const clock = new VirtualClock();
    await using kv = memoryKv();
    const shared = ['a', 'b', 'c'].map((instance) => kvHints(kv, { instance, clock }));
    const [a, b, c] = shared.map((hints) => breakerOf(clock, hints));
    end(a!, 'failure');
    end(b!, 'failure');
    await until(() => c!.state === 'open');
    const { kvs } = await kv.range({ prefix: 'breakers/' });
    const keys = kvs.map(({ key, lease }) => `${key} ${lease !== 0n}`);
    assert.deepEqual(keys, ['breakers/stock/a true', 'breakers/stock/b true']);
    clock.stall(1000);
    for (const breaker of [a!, b!, c!]) end(breaker, 'success');
    await until(async () => (await kv.range({ prefix: 'breakers/' })).count === 0);
    end(a!, 'failure');
    await settled();
    assert.equal(b!.state, 'closed');
    for (const hints of shared) {
      await hints.close();
      assert.equal(hints.lost, 0);
    }
    assert.equal((await kv.range({ prefix: 'breakers/' })).count, 0, 'closed, it takes it back');
    assert.deepEqual(await kv.leases(), []);
    assert.equal(clock.pending, 0, 'no timer is left');
  });

  it('tell who begins to listen what has been told before', async () => {
    const clock = new VirtualClock();
    await using kv = memoryKv();
    await using early = kvHints(kv, { instance: 'early', clock });
    early.tell('stock', true);
    await until(async () => (await kv.range({ prefix: 'breakers/' })).count === 1);
    await using late = kvHints(kv, { instance: 'late', clock });
    let others = 0;
    await until(() => {
      late.listen('stock', (count) => {
        others = count;
      })();
      return others === 1;
    });
    const breaker = breakerOf(clock, late, 1);
    assert.equal(breaker.state, 'open');
  });

  it('say at last what was told last', async () => {
    const clock = new VirtualClock();
    await using kv = memoryKv();
    await using hints = kvHints(kv, { instance: 'a', prefix: 'other/', clock });
    for (let i = 0; i < 9; i++) hints.tell('stock', i % 2 === 0);
    await until(async () => (await kv.get('other/stock/a')) !== undefined);
    for (let i = 0; i < 9; i++) hints.tell('stock', i % 2 === 1);
    await until(async () => (await kv.leases()).length === 0);
    assert.equal(await kv.get('other/stock/a'), undefined);
  });

  it('are gone after a while with an instance that does not take them back', async () => {
    const clock = new VirtualClock();
    await using kv = memoryKv({ clock });
    await using a = kvHints(kv, { instance: 'a', lasts: '10s', clock });
    await using b = kvHints(kv, { instance: 'b', clock });
    const heard: number[] = [];
    b.listen('stock', (others) => heard.push(others));
    a.tell('stock', true);
    await until(() => heard.length === 1);
    await clock.advance(9000);
    assert.notEqual(await kv.get('breakers/stock/a'), undefined);
    await clock.advance(3000);
    assert.equal(await kv.get('breakers/stock/a'), undefined);
    a.tell('stock', false);
    a.tell('stock', true);
    await until(() => heard.length === 2);
    assert.deepEqual(heard, [1, 1], 'it was forgotten, and is news again');
    assert.equal(a.lost, 0);
  });

  it('are heard of others, once of each, and of each anew after it took them back', async () => {
    const clock = new VirtualClock();
    await using kv = memoryKv();
    await using hints = kvHints(kv, { instance: 'me', clock });
    const heard: number[] = [];
    hints.listen('stock', (others) => heard.push(others));
    hints.tell('stock', true);
    await kv.put('breakers/stock/a', '');
    await kv.put('breakers/stock/a', '');
    await kv.put('breakers/other/b', '');
    await kv.put('breakers/stock/b', '');
    await until(() => heard.length === 2);
    await kv.delete('breakers/stock/a');
    await kv.put('breakers/stock/c', '');
    await until(() => heard.length === 3);
    assert.deepEqual(heard, [1, 2, 2]);
  });

  it('that were heard are no news after the watch broke; those that went meanwhile are gone', async () => {
    const clock = new VirtualClock();
    await using kv = memoryKv();
    const watches: AbortController[] = [];
    const breaking = new Proxy(kv, {
      get(target, name: keyof Kv) {
        if (name !== 'watch') return (target[name] as () => unknown).bind(target);
        return (...[range, options]: Parameters<Kv['watch']>) => {
          const ended = new AbortController();
          watches.push(ended);
          options?.signal?.addEventListener('abort', () => ended.abort(), { once: true });
          return target.watch(range, { ...options, signal: ended.signal });
        };
      },
    });
    await using hints = kvHints(breaking, { instance: 'me', clock });
    const heard: number[] = [];
    hints.listen('stock', (others) => heard.push(others));
    await until(() => watches.length === 1);
    await kv.put('breakers/stock/a', '');
    await kv.put('breakers/stock/b', '');
    await until(() => heard.length === 2);
    watches[0]!.abort();
    await kv.delete('breakers/stock/a');
    await settled();
    await clock.advance(1000);
    await until(() => watches.length === 2);
    await kv.put('breakers/stock/c', '');
    await until(() => heard.length === 3);
    assert.deepEqual(heard, [1, 2, 2]);
  });

  it('count as lost only where something was to be taken back and could not', async () => {
    const clock = new VirtualClock();
    await using kv = memoryKv();
    const failing = new Proxy(kv, {
      get(target, name: keyof Kv) {
        if (name !== 'revokeLease') return (target[name] as () => unknown).bind(target);
        return () => Promise.reject(new Error('down'));
      },
    });
    const hints = kvHints(failing, { instance: 'a', clock });
    hints.tell('stock', false);
    await settled();
    assert.equal(hints.lost, 0);
    hints.tell('stock', true);
    await until(async () => (await kv.leases()).length === 1);
    await settled();
    hints.tell('stock', false);
    await until(() => hints.lost === 1);
    await hints.close();
    hints.tell('stock', true);
    await settled();
    assert.equal((await kv.leases()).length, 1, 'closed, it tells nothing');
  });

  it('do without a store that is down, and come back with it', async () => {
    const clock = new VirtualClock();
    await using kv = memoryKv();
    let isDown = true;
    const unsteady = new Proxy(kv, {
      get(target, name: keyof Kv) {
        const method = target[name] as (...args: never[]) => unknown;
        return (...args: never[]) => {
          if (isDown) throw new Error('down');
          return method.apply(target, args);
        };
      },
    });
    await using hints = kvHints(unsteady, { instance: 'a', clock });
    await using other = kvHints(kv, { instance: 'b', clock });
    const breaker = breakerOf(clock, hints, 1);
    end(breaker, 'failure');
    await until(() => hints.lost === 1);
    assert.equal(breaker.state, 'open');
    breaker.close();
    isDown = false;
    other.tell('stock', true);
    await until(async () => {
      await clock.advance(1000);
      return breaker.state !== 'closed';
    });
  });

  it('give up a store that does not answer', async () => {
    const clock = new VirtualClock();
    await using kv = memoryKv();
    const mute = new Proxy(kv, {
      get(target, name: keyof Kv) {
        if (name !== 'grantLease') return (target[name] as () => unknown).bind(target);
        return (_ttl: number, { signal }: { signal: AbortSignal }) =>
          new Promise((_, reject) => {
            signal.addEventListener('abort', () => reject(signal.reason));
          });
      },
    });
    await using hints = kvHints(mute, { instance: 'a', clock });
    hints.tell('stock', true);
    await clock.advance(4999);
    assert.equal(hints.lost, 0);
    await clock.advance(1);
    assert.equal(hints.lost, 1);
  });

  it('are told to all that listen to the circuit, until they listen no more', async () => {
    const clock = new VirtualClock();
    await using kv = memoryKv();
    await using hints = kvHints(kv, { instance: 'me', clock });
    const heard: string[] = [];
    const ends = ['a', 'b'].map((name) =>
      hints.listen('stock', (others) => heard.push(`${name} ${others}`)),
    );
    hints.listen('other', () => heard.push('other'));
    await kv.put('breakers/stock/x', '');
    await until(() => heard.length === 2);
    ends[0]!();
    ends[0]!();
    await kv.put('breakers/stock/y', '');
    await until(() => heard.length === 3);
    await settled();
    assert.deepEqual(heard, ['a 1', 'b 1', 'b 2']);
  });

  it('are taken back by the end of a block, also those that were about to be told', async () => {
    const clock = new VirtualClock();
    await using kv = memoryKv();
    {
      await using hints = kvHints(kv, { instance: 'a', clock });
      hints.tell('told', true);
      await until(async () => (await kv.range({ prefix: 'breakers/' })).count === 1);
      hints.tell('soon', true);
    }
    assert.equal((await kv.range({ prefix: 'breakers/' })).count, 0);
    assert.deepEqual(await kv.leases(), []);
    assert.equal(clock.pending, 0);
  });

  it('are given up where the store does not answer that they are taken back', async () => {
    const clock = new VirtualClock();
    await using kv = memoryKv();
    const mute = new Proxy(kv, {
      get(target, name: keyof Kv) {
        if (name !== 'revokeLease') return (target[name] as () => unknown).bind(target);
        return (_id: bigint, { signal }: { signal: AbortSignal }) =>
          new Promise((_, reject) => {
            signal.addEventListener('abort', () => reject(signal.reason));
          });
      },
    });
    const hints = kvHints(mute, { instance: 'a', clock });
    hints.tell('stock', true);
    await until(async () => (await kv.range({ prefix: 'breakers/' })).count === 1);
    await settled();
    let isClosed = false;
    const closing = hints.close().then(() => {
      isClosed = true;
    });
    await clock.advance(4999);
    assert.deepEqual([isClosed, hints.lost], [false, 0]);
    await clock.advance(1);
    await closing;
    assert.equal(hints.lost, 1);
  });

  it('listen no more to a store that does not answer when they are closed', async () => {
    const clock = new VirtualClock();
    await using kv = memoryKv();
    const mute = new Proxy(kv, {
      get(target, name: keyof Kv) {
        if (name !== 'range') return (target[name] as () => unknown).bind(target);
        return (_range: unknown, { signal }: { signal?: AbortSignal } = {}) =>
          new Promise((_, reject) => {
            signal?.addEventListener('abort', () => reject(signal.reason));
          });
      },
    });
    const hints = kvHints(mute, { instance: 'a', clock });
    await settled();
    await hints.close();
    assert.equal(clock.pending, 0);
  });

  it('refuse names and times that are none', async () => {
    await using kv = memoryKv();
    const refused = { code: 'ERR_INVALID_ARGUMENT' };
    for (const instance of ['', 'a/b', 5 as never])
      assert.throws(() => kvHints(kv, { instance }), refused);
    for (const lasts of [0, -1, 'soon'])
      assert.throws(() => kvHints(kv, { instance: 'a', lasts }), refused);
    assert.throws(() => kvHints(kv, { instance: 'a', prefix: 5 as never }), refused);
  });
});
