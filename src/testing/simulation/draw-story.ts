/** Draws the story of a seed: how many nodes and clients, how long, how bad the weather, which faults. */
import { seededRandom } from '../../core/random.ts';
import { drawLocksStory } from './draw-locks-story.ts';
import { drawFaults } from './faults.ts';
import { SIMULATOR_VERSION, type Story, type WorkloadName } from './types.ts';
import { drawWeather, weatherValue } from './weather.ts';

export function drawStory(
  seed: number,
  consensus: Story['consensus'],
  workload: WorkloadName = 'mixed',
): Story {
  if (workload === 'locks') return drawLocksStory(seed, consensus);
  const random = seededRandom(seed);
  const nodes = [1, 3, 3, 3, 3, 3, 3, 5, 5, 5, 3, 3, 5, 3, 3, 7][random.below(16)]!;
  const stormMs = 1000 * (5 + random.below(16));
  const weather = drawWeather(random);
  const electionMs = weatherValue(weather, 'electionMs');
  // Half of the leases outlast elections. Of a stream of its own, so that all else stays as it is without.
  const lease = seededRandom(seed ^ 0x1ea5e);
  if ('leaseDriftPpm' in weather && lease.below(2) === 0) {
    weather['leaseMs'] = electionMs * (2 + lease.below(3));
  }
  return {
    version: SIMULATOR_VERSION,
    seed,
    consensus,
    nodes,
    stormMs,
    clients: 1 + random.below(5),
    weather,
    faults: drawFaults(random, nodes, stormMs, electionMs),
  };
}
