import assert from 'node:assert/strict';
import { test } from 'node:test';
import { seededRandom } from '../core/random.ts';
import { SECTOR_BYTES, SectorFile } from './sector-file.ts';

const sectors = (...letters: string[]): Buffer =>
  Buffer.concat(letters.map((letter) => Buffer.alloc(SECTOR_BYTES, letter)));

/** Of every sector, its first letter. */
function letters(file: SectorFile): string {
  let text = '';
  for (let at = 0; at < file.size; at += SECTOR_BYTES)
    text += file.view().toString('latin1', at, at + 1);
  return text;
}

/** All that a loss of power may leave. */
function outcomes(file: SectorFile): string[] {
  const found = new Set<string>();
  for (let seed = 0; seed < 400; seed++) found.add(letters(file.afterPowerCut(seededRandom(seed))));
  return [...found].sort();
}

test('sectors that were written and not synced survive a loss of power in any combination', () => {
  const file = new SectorFile(sectors('a', 'b'));
  file.write(sectors('X', 'Y'), 0);
  assert.deepEqual(outcomes(file), ['XY', 'Xb', 'aY', 'ab']);
  assert.equal(letters(file.durableOnly()), 'ab');
  assert.equal(letters(file), 'XY');
});

test('what was synced survives', () => {
  const file = new SectorFile(sectors('a', 'b'));
  file.write(sectors('X'), 0);
  file.endSync(file.beginSync(), true);
  file.write(sectors('Y'), SECTOR_BYTES);
  assert.deepEqual(outcomes(file), ['XY', 'Xb']);
  assert.equal(file.dirtySectors, 1);
});

test('a sync that failed, or has not ended, has made nothing durable', () => {
  const file = new SectorFile(sectors('a'));
  file.write(sectors('X'), 0);
  const token = file.beginSync();
  assert.deepEqual(outcomes(file), ['X', 'a']);
  file.endSync(token, false);
  assert.deepEqual(outcomes(file), ['X', 'a']);
});

test('what a failed sync gave up no later sync makes durable, unless it is written anew', () => {
  const file = new SectorFile(sectors('a', 'b'));
  file.write(sectors('X', 'Y'), 0);
  file.endSync(file.beginSync(), false);
  file.endSync(file.beginSync(), true);
  assert.equal(letters(file.durableOnly()), 'ab');
  assert.equal(letters(file.copy().durableOnly()), 'ab');
  file.write(sectors('X'), 0);
  file.endSync(file.beginSync(), true);
  assert.equal(letters(file.durableOnly()), 'Xb');
});

test('a sync that failed gives up nothing that was written while it was under way', () => {
  const file = new SectorFile(sectors('a'));
  file.write(sectors('X'), 0);
  const token = file.beginSync();
  file.write(sectors('Y'), 0);
  file.endSync(token, false);
  file.endSync(file.beginSync(), true);
  assert.equal(letters(file.durableOnly()), 'Y');
});

test('a sync promises the writes before it, not those that came while it was under way', () => {
  const file = new SectorFile(sectors('a'));
  file.write(sectors('X'), 0);
  const token = file.beginSync();
  file.write(sectors('Y'), 0);
  assert.deepEqual(outcomes(file), ['X', 'Y', 'a']);
  file.endSync(token, true);
  assert.deepEqual(outcomes(file), ['X', 'Y']);
  assert.equal(letters(file.durableOnly()), 'X');
  file.endSync(file.beginSync(), true);
  assert.deepEqual(outcomes(file), ['Y']);
});

test('a sync of one write says nothing about others', () => {
  const file = new SectorFile(sectors('a', 'b', 'c'));
  file.write(sectors('X'), 0);
  file.write(sectors('Y'), SECTOR_BYTES);
  file.endSync(file.beginSync(SECTOR_BYTES, SECTOR_BYTES), true);
  assert.deepEqual(outcomes(file), ['XYc', 'aYc']);
});

test('a file that grew has after a loss of power any size in between, and zeros where nothing arrived', () => {
  const file = new SectorFile(sectors('a'));
  file.write(sectors('X', 'Y'), SECTOR_BYTES);
  const sizes = new Set<number>();
  const seen = new Set<string>();
  for (let seed = 0; seed < 200; seed++) {
    const after = file.afterPowerCut(seededRandom(seed));
    sizes.add(after.size);
    for (const letter of letters(after).slice(1)) seen.add(letter);
  }
  assert.ok(sizes.size > 50);
  assert.ok(Math.min(...sizes) >= SECTOR_BYTES && Math.max(...sizes) <= 3 * SECTOR_BYTES);
  assert.deepEqual([...seen].sort(), ['\0', 'X', 'Y']);
  assert.equal(file.durableOnly().size, SECTOR_BYTES);
});

test('reading gives what was written last, from gaps zeros, and no more than there is', () => {
  const file = new SectorFile();
  file.write(Buffer.from('tail'), 700);
  file.write(Buffer.from('head'), 0);
  assert.equal(file.size, 704);
  assert.equal(file.read(0, 4).toString(), 'head');
  assert.deepEqual([...file.read(698, 3)], [0, 0, 't'.charCodeAt(0)]);
  assert.equal(file.read(702, 100).toString(), 'il');
  assert.equal(file.read(10_000, 5).length, 0);
  const before = file.read(0, 4);
  file.write(Buffer.from('HEAD'), 0);
  assert.equal(before.toString(), 'head', 'what was read does not change later');
});

test('damage is seen by every reader and survives everything', () => {
  const file = new SectorFile(sectors('a'));
  file.damage(Buffer.from('!'), 0);
  assert.deepEqual(outcomes(file), ['!']);
  file.damage(sectors('z'), 10);
  assert.equal(file.size, SECTOR_BYTES);
});

test('a copy stands by itself, and the same of it is durable', () => {
  const file = new SectorFile(sectors('a', 'b'));
  file.write(sectors('X'), 0);
  const copy = file.copy();
  file.write(sectors('Y'), SECTOR_BYTES);
  file.endSync(file.beginSync(), true);
  assert.deepEqual(outcomes(copy), ['Xb', 'ab']);
  copy.write(sectors('Z'), 0);
  assert.equal(letters(file), 'XY');
});

test('only where it is asked for, sectors are torn in the middle', () => {
  const file = new SectorFile(sectors('a'));
  file.write(sectors('X'), 0);
  let torn = 0;
  for (let seed = 0; seed < 100; seed++) {
    const text = file.afterPowerCut(seededRandom(seed), true).view().toString('latin1');
    if (/^(a+X+|X+a+)$/.test(text)) torn += 1;
    else assert.match(text, /^(a+|X+)$/);
    const whole = file.afterPowerCut(seededRandom(seed)).view().toString('latin1');
    assert.match(whole, /^(a+|X+)$/);
  }
  assert.ok(torn > 20, `${torn} of 100`);
});
