/** Draws the story of a seed: how many nodes and clients, how long, how bad the weather, which faults. */
import { seededRandom } from '../../core/random.ts';
import { drawFaults } from './faults.ts';
import { SIMULATOR_VERSION, type Story } from './types.ts';
import { drawWeather, weatherValue } from './weather.ts';

export function drawStory(seed: number, consensus: Story['consensus']): Story {
  const random = seededRandom(seed);
  const nodes = [1, 3, 3, 3, 3, 3, 3, 5, 5, 5, 3, 3, 5, 3, 3, 7][random.below(16)]!;
  const stormMs = 1000 * (5 + random.below(16));
  const weather = drawWeather(random);
  const electionMs = weatherValue(weather, 'electionMs');
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
