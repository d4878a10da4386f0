import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { TokenLeases } from './token-leases.ts';

/** Uses tokens of one key, `everyMs`, for a while; what was taken of the store, and how often. */
function use(most: number, everyMs: number, forMs: number) {
  const leases = new TokenLeases(most, 1000);
  let [taken, commands, used, mostHeld] = [0, 0, 0, 0];
  for (let nowMs = 0; nowMs < forMs; nowMs += everyMs) {
    const held = leases.of('k', nowMs);
    if (held.tokens < 1) {
      const amount = leases.wanted(held, 1) - held.tokens;
      leases.fill('k', held, amount, nowMs);
      taken += amount;
      commands += 1;
    }
    mostHeld = Math.max(mostHeld, held.tokens);
    held.tokens -= 1;
    held.spent += 1;
    used += 1;
  }
  return { taken, commands, used, mostHeld };
}

describe('leases of tokens', () => {
  it('of a key that is used much are large, and never larger than said', () => {
    const { taken, commands, used, mostHeld } = use(64, 1, 10_000);
    assert.equal(mostHeld, 64);
    assert.ok(commands < used / 50, `${commands} for ${used}`);
    assert.ok(taken - used <= 64);
  });

  it('of a key that is seldom used take hardly more than is used', () => {
    for (const everyMs of [300, 700, 1500, 5000]) {
      const { taken, used } = use(64, everyMs, 1_000_000);
      assert.ok(taken <= used * 1.6, `every ${everyMs} ms: ${taken} for ${used}`);
    }
  });

  it('end, and are smaller then', () => {
    const leases = new TokenLeases(100, 1000);
    const held = leases.of('k', 0);
    held.size = 100;
    leases.fill('k', held, 100, 0);
    held.tokens -= 3;
    held.spent += 3;
    assert.equal(leases.tokensOf('k', 999), 97);
    assert.equal(leases.tokensOf('k', 1000), 0);
    assert.equal(leases.of('k', 1000).tokens, 0);
    assert.equal(leases.wanted(held, 1), 3);
  });

  it('that are filled before they are empty end with what was there first', () => {
    const leases = new TokenLeases(10, 1000);
    const held = leases.of('k', 0);
    leases.fill('k', held, 2, 0);
    leases.fill('k', held, 8, 900);
    assert.equal(leases.tokensOf('k', 999), 10);
    assert.equal(leases.tokensOf('k', 1000), 0);
  });

  it('of many keys take bounded room: those that are over go first', () => {
    const leases = new TokenLeases(10, 1000);
    for (let i = 0; i < 5000; i++) leases.fill(`k${i}`, leases.of(`k${i}`, i), 1, i);
    assert.ok(leases.size <= 1002, `${leases.size}`);
    const full = new TokenLeases(10, 1e9);
    for (let i = 0; i < 100_500; i++) full.fill(`k${i}`, full.of(`k${i}`, 0), 1, 0);
    assert.ok(full.size <= 100_000, `${full.size}`);
    assert.equal(full.tokensOf('k0', 0), 0);
    assert.equal(full.tokensOf('k100499', 0), 1);
  });
});
