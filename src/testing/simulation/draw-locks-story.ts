/**
 * Draws the story of a seed that is aimed at locks: most clients take locks, many in processes of their own, which
 * are paused past the life of their locks, killed, and cut off, all the time. Nodes fail as well, but their disks
 * stay whole and their members the same: for those there are the other stories. Runs are short, so that there
 * can be many.
 */
import { type Random, seededRandom } from '../../core/random.ts';
import { between, exponential } from './draw.ts';
import { drawFault, FAULT_KINDS } from './faults.ts';
import { type PlannedFault, SIMULATOR_VERSION, type Story } from './types.ts';

/** What befalls nodes here. */
const NODE_FAULTS = [
  'crash',
  'crash-leader',
  'crash-all',
  'kill',
  'stop',
  'pause',
  'pause-leader',
  'isolate',
  'isolate-leader',
  'partition',
  'one-way',
  'reset',
  'slow-network',
  'disk-stall',
  'transfer',
] as const;

/** A stream of its own: a seed aimed at locks is another run than the same seed without. */
const LOCKS = 0x10c5;

export function drawLocksStory(seed: number, consensus: Story['consensus']): Story {
  const random = seededRandom(seed ^ LOCKS);
  const nodes = [1, 3, 3, 3, 3, 3, 3, 5][random.below(8)]!;
  const stormMs = 1000 * (4 + random.below(4));
  const weather = drawLocksWeather(random);
  const faults = drawFaults(random, nodes, stormMs, weather);
  return {
    version: SIMULATOR_VERSION,
    seed,
    consensus,
    nodes,
    stormMs,
    clients: random.below(2),
    weather,
    faults,
  };
}

function drawLocksWeather(random: Random): Record<string, number> {
  const isOn = (oneIn: number): boolean => random.below(oneIn) === 0;
  const from = (least: number, most: number): number => least + random.below(most - least + 1);
  const weather: Record<string, number> = {
    electionMs: from(4, 10) * 100,
    requestTimeoutMs: isOn(3) ? from(1, 4) * 1000 : 7000,
    keys: 3,
    thinkMeanMs: from(100, 400),
    worstCaseMeanMs: 10_000,
    remoteRate: from(3, 10) / 10,
    clientDelayMs: isOn(3) ? from(5, isOn(3) ? 150 : 40) : 1,
  };
  weather['heartbeatMs'] = Math.floor(weather['electionMs']! / from(5, 8));
  if (isOn(3)) weather['delayMeanMs'] = from(1, 10);
  if (isOn(5)) weather['lossRate'] = from(1, 15) / 100;
  if (isOn(4)) weather['lostReplyRate'] = from(1, 20) / 100;
  if (isOn(2)) weather['clientLostReplyRate'] = from(1, 15) / 100;
  if (isOn(4)) weather['syncMeanMs'] = from(1, 15);
  if (isOn(2)) weather['driftPpm'] = from(1, 10) * 100;
  if (isOn(5)) {
    weather['snapshotEntries'] = from(10, 60);
    weather['keepEntries'] = from(0, 20);
  }
  if (!isOn(5)) weather['claimers'] = from(2, 5);
  if (isOn(2)) weather['txnClaimers'] = from(2, 3);
  if (isOn(2)) weather['operators'] = from(1, 2);
  if (isOn(2)) weather['candidates'] = from(2, 3);
  if (weather['candidates'] !== undefined && !isOn(4)) weather['observers'] = from(1, 2);
  if (isOn(3)) weather['latchParties'] = from(2, 4);
  if (isOn(3)) weather['barrierParties'] = from(2, 4);
  if (isOn(8)) weather['watchers'] = 1;
  return weather;
}

/** Faults of clients are always on; of those of nodes each seed has a part. */
function drawFaults(
  random: Random,
  nodes: number,
  stormMs: number,
  weather: Readonly<Record<string, number>>,
): PlannedFault[] {
  const electionMs = weather['electionMs']!;
  const names = Object.keys(FAULT_KINDS).filter((name) => {
    const kind = FAULT_KINDS[name]!;
    if (kind.ofLocks === true) return random.below(4) > 0;
    if (!NODE_FAULTS.some((each) => each === name)) return false;
    return (kind.needsPeers !== true || nodes > 1) && random.below(4) === 0;
  });
  const total = names.reduce((sum, name) => sum + FAULT_KINDS[name]!.weight, 0);
  if (total === 0) return [];
  const clients = CLIENTS.reduce((sum, name) => sum + (weather[name] ?? 0), 0);
  const meanMs = between(random, 200, 1200);
  const faults: PlannedFault[] = [];
  let atMs = electionMs + exponential(random, meanMs);
  while (atMs < stormMs) {
    let at = random.below(total);
    const name = names.find((each) => (at -= FAULT_KINDS[each]!.weight) < 0)!;
    const kind = FAULT_KINDS[name]!;
    const seats = kind.ofLocks === true ? Math.max(1, 2 * clients) : nodes;
    faults.push(drawFault(random, name, kind, seats, Math.round(atMs), electionMs));
    atMs += exponential(random, meanMs);
  }
  return faults;
}

const CLIENTS = [
  'claimers',
  'txnClaimers',
  'operators',
  'candidates',
  'observers',
  'latchParties',
  'barrierParties',
] as const;
