import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { describe, it } from 'node:test';
import { QuorateError } from '../core/errors.ts';
import { VirtualClock } from '../testing/virtual-clock.ts';
import { Gate } from './signals.ts';

const reason = new QuorateError('ERR_CLOSED', 'over');
const never = new Promise<never>(() => undefined);

describe('a gate', () => {
  it('is aborted by the signal, by the time to wait, or by hand: the first reason stays', async () => {
    const clock = new VirtualClock();
    const outer = new AbortController();
    const gate = new Gate(clock, { name: 'a', signal: outer.signal, waitMs: 100 });
    const { signal } = gate;
    gate.throwIfAborted();
    assert.equal(signal.aborted, false);
    await clock.advance(100);
    assert.equal(signal.reason.code, 'ERR_LOCK_BUSY');
    outer.abort(new Error('too late'));
    gate.abort(reason);
    assert.equal(signal.reason.code, 'ERR_LOCK_BUSY');
    assert.throws(() => gate.throwIfAborted(), { code: 'ERR_LOCK_BUSY' });
    const other = new AbortController();
    const second = new Gate(clock, { name: 'a', signal: other.signal, waitMs: undefined });
    other.abort(reason);
    assert.equal(second.signal.reason, reason, 'a signal that is asked for afterwards');
  });

  it('ends the wait that is under way, and one that begins later', async () => {
    const gate = new Gate(new VirtualClock(), { name: 'a', signal: undefined, waitMs: undefined });
    assert.equal(await gate.orAborted(Promise.resolve(1)), 1);
    await assert.rejects(gate.orAborted(Promise.reject(new TypeError('no'))), TypeError);
    const waits = gate.orAborted(never);
    gate.abort(reason);
    await assert.rejects(waits, reason);
    await assert.rejects(gate.orAborted(never), reason);
    // What is given up may fail unheard.
    await assert.rejects(gate.orAborted(Promise.reject(new TypeError('no'))), reason);
  });

  it('leaves no listener and no timer behind', () => {
    const clock = new VirtualClock();
    const { signal } = new AbortController();
    const gate = new Gate(clock, { name: 'a', signal, waitMs: 100 });
    assert.equal(clock.pending, 1);
    assert.equal(getEventListeners(signal, 'abort').length, 1);
    gate.close();
    assert.equal(clock.pending, 0);
    assert.equal(getEventListeners(signal, 'abort').length, 0);
  });
});
