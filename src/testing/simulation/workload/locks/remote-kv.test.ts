import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { isQuorateError } from '../../../../core/errors.ts';
import { seededRandom } from '../../../../core/random.ts';
import type { Kv } from '../../../../kv/kv.ts';
import { kvOver } from '../../../../kv/kv-over.ts';
import { memoryService } from '../../../../kv/memory.ts';
import { NodeClock } from '../../node-clock.ts';
import { SimulatedProcess } from '../../process.ts';
import { SimulatedWorld } from '../../world.ts';
import type { Host } from '../hosts.ts';
import { type Home, RemoteHome } from './homes.ts';

interface Scene {
  readonly world: SimulatedWorld;
  readonly kv: Kv;
  readonly home: Home;
  readonly guest: Host;
}

/** A store in memory, and a client that is away from it. */
function scene(lostReplyRate = 0): Scene {
  const world = new SimulatedWorld({ seed: 1 });
  const process = new SimulatedProcess(world);
  const clock = new NodeClock({ world, process });
  const kv = kvOver(memoryService({ clock, random: seededRandom(1) }));
  const node: Host = {
    seat: 0,
    kv,
    clock,
    wasPausedSince: () => false,
    run: (what) => process.run(what),
    onEnd: () => undefined,
  };
  const weather = { delayMeanMs: 1, lostReplyRate };
  const hosts = { count: 1, at: () => node };
  const random = seededRandom(2);
  const home = new RemoteHome({ world, hosts, random, weather, driftPpm: 0 });
  return { world, kv, home, guest: home.open()! };
}

async function outcomeOf({ world }: Scene, call: Promise<unknown>): Promise<string> {
  let outcome = 'pending';
  call.then(
    () => {
      outcome = 'ok';
    },
    (error: unknown) => {
      outcome = isQuorateError(error) ? `${error.code} ${error.outcome}` : String(error);
    },
  );
  await world.run(world.nowMs + 10_000);
  return outcome;
}

describe('a store over a link', () => {
  it('answers as the store does', async () => {
    const own = scene();
    assert.equal(await outcomeOf(own, own.guest.kv.put('a', 'x')), 'ok');
    assert.equal((await own.kv.get('a'))?.value.toString(), 'x');
  });

  it('does not know what became of a write whose reply was lost', async () => {
    const own = scene(1);
    assert.equal(await outcomeOf(own, own.guest.kv.put('a', 'x')), 'ERR_UNAVAILABLE unknown');
    assert.equal((await own.kv.get('a'))?.value.toString(), 'x');
  });

  it('loses what is sent while it is cut', async () => {
    const own = scene();
    own.home.cut(2000);
    assert.equal(await outcomeOf(own, own.guest.kv.put('a', 'x')), 'ERR_UNAVAILABLE unknown');
    assert.equal(await own.kv.get('a'), undefined);
    assert.equal(await outcomeOf(own, own.guest.kv.put('a', 'y')), 'ok');
  });

  it('answers nobody whose process is gone, and a paused one later', async () => {
    const own = scene();
    own.home.pause(20_000);
    const call = own.guest.kv.put('a', 'x');
    assert.equal(await outcomeOf(own, call), 'pending');
    own.home.kill();
    assert.equal(await outcomeOf(own, call), 'pending');
    assert.equal((await own.kv.get('a'))?.value.toString(), 'x');
  });

  it('watches on where it was, with nothing lost or repeated', async () => {
    const own = scene();
    const seen: string[] = [];
    const follow = async (): Promise<void> => {
      for await (const { events } of own.guest.kv.watch('a', { fromRevision: 1 })) {
        for (const { kv } of events) seen.push(kv.value.toString());
      }
    };
    void follow();
    for (let i = 0; i < 30; i++) {
      own.world.after(100 * i, () => void own.kv.put('a', String(i)));
      if (i % 5 === 0) own.world.after(100 * i + 1, () => own.home.cut(i % 2 === 0 ? 0 : 250));
    }
    await own.world.run(10_000);
    assert.deepEqual(
      seen,
      Array.from({ length: 30 }, (_, i) => String(i)),
    );
  });
});
