/**
 * How bad a run is, and how small its limits are: swarm testing (Groce et al., "Swarm testing",
 * ISSTA 2012). Each seed turns a random part of everything on, with rates of its own, since what is
 * always on hides what only shows without it. Half of the seeds have small limits, so that segments,
 * snapshots and gaps that take days in production come up within seconds.
 */
import type { Random } from '../../core/random.ts';

/**
 * Every name that a weather may hold. A rate is a chance from 0 to 1 for each thing it speaks of; absent is off,
 * and for limits and times the node's own default.
 */
export const WEATHER = {
  /** Least delay of a message. */
  delayMinMs: 0.1,
  /** Mean of the exponential part of the delay of a message. */
  delayMeanMs: 0.5,
  /** Chance of a message to be lost, without the sender being told. */
  lossRate: 0,
  /** Chance of a message to come again, up to a second later. */
  duplicateRate: 0,
  /** Chance of a message to be overtaken by later ones. */
  reorderRate: 0,
  /** A message that comes again or is overtaken is at most so late. */
  lateMs: 1000,
  /** Of a piece of a connection: to be lost and sent again late, to be flipped a bit of, to be split, to reset it. */
  retransmitRate: 0,
  corruptRate: 0,
  splitRate: 0,
  resetRate: 0,
  /** Chance of a call's reply to be lost with its connection. */
  lostReplyRate: 0,
  /** Least and mean time of a write, and of a sync. */
  writeMeanMs: 0.05,
  syncMinMs: 0.1,
  syncMeanMs: 0.5,
  /** Clocks run up to so many millionths too fast or too slow. */
  driftPpm: 0,
  /** Reads by lease, where the nodes are told that clocks drift up to so much. 0: no leases. */
  leaseDriftPpm: 0,
  /** How long a new leader waits for leases; absent: an election timeout. */
  leaseMs: 0,
  /** Clocks start up to this far apart. */
  offsetMs: 0,
  /** Sizes and times of a node. */
  heartbeatMs: 100,
  electionMs: 1000,
  requestTimeoutMs: 7000,
  segmentBytes: 64 * 1024,
  snapshotEntries: 10_000,
  keepEntries: 5000,
  /** Limits of a core. */
  maxAppendBytes: 1 << 20,
  maxInflightMessages: 256,
  maxUncommittedEntries: 262_144,
  maxCommittedEntriesPerTake: 4096,
  /** Keys that clients share, bytes of a usual value, and mean pause of a client between two calls. */
  keys: 8,
  valueBytes: 16,
  thinkMeanMs: 50,
  /** Clients that hold leases, watch, and take locks. */
  lessees: 0,
  watchers: 0,
  lockers: 0,
  /** Of runs that are aimed at locks: clients of each kind. */
  claimers: 0,
  txnClaimers: 0,
  operators: 0,
  candidates: 0,
  observers: 0,
  latchParties: 0,
  barrierParties: 0,
  /** Chance of each to live in a process of its own, and what the way between that and the nodes is like. */
  remoteRate: 0,
  clientDelayMs: 1,
  clientLostReplyRate: 0,
  /** Mean time between two looks at what a disk would hold if power failed now. */
  worstCaseMeanMs: 500,
} as const satisfies Readonly<Record<string, number>>;

/** A name of `WEATHER`. */
export type WeatherName = keyof typeof WEATHER;

/** What a story says of its weather. */
type Weather = Partial<Record<WeatherName, number>>;

/** Reads a weather: what it says, else what `WEATHER` says. */
export function weatherValue(weather: Readonly<Record<string, number>>, name: WeatherName): number {
  return weather[name] ?? WEATHER[name];
}

/** Draws the weather of a seed. */
export function drawWeather(random: Random): Record<string, number> {
  const weather: Record<string, number> = {};
  const isOn = (oneIn: number): boolean => random.below(oneIn) === 0;
  const between = (least: number, most: number): number => least + random.below(most - least + 1);
  drawNetwork(weather, isOn, between);
  if (isOn(3)) {
    weather['writeMeanMs'] = between(1, 10);
    weather['syncMeanMs'] = between(1, 40);
  }
  if (isOn(2)) weather['driftPpm'] = between(1, 10) * 100;
  // Leases rest on a bound of the drift: it is told as it is, and clocks may be as bad as that.
  if (isOn(3)) {
    weather['driftPpm'] = between(1, 100) * 1000;
    weather['leaseDriftPpm'] = weather['driftPpm'];
  }
  if (isOn(2)) weather['offsetMs'] = between(1, 100_000);
  weather['electionMs'] = isOn(2) ? 1000 : between(3, 8) * 100;
  weather['electionMs'] = Math.max(weather['electionMs'], leastElectionMs(weather));
  weather['heartbeatMs'] = Math.floor(weather['electionMs'] / between(6, 10));
  weather['requestTimeoutMs'] = isOn(3) ? between(1, 4) * 1000 : 7000;
  if (isOn(2)) {
    weather['segmentBytes'] = 4096 * between(1, 4);
    weather['snapshotEntries'] = between(5, 40);
    weather['keepEntries'] = between(0, 20);
  }
  if (isOn(2)) {
    weather['maxAppendBytes'] = between(1, 4) * 100;
    weather['maxInflightMessages'] = Math.max(between(1, 3), leastInflight(weather));
    weather['maxCommittedEntriesPerTake'] = between(1, 8);
  }
  // Not below what one burst proposes at once: it would never find room.
  if (isOn(4)) weather['maxUncommittedEntries'] = between(64, 128);
  drawClients(weather, isOn, between);
  weather['worstCaseMeanMs'] = between(1, 10) * 100;
  return weather;
}

/**
 * An election takes two round trips, each with a write. Where it usually outlasts the timeout there may
 * be no leader for ever (Raft §5.6: the broadcast time has to be well below the election timeout).
 */
function leastElectionMs({ delayMeanMs = 0, writeMeanMs = 0, syncMeanMs = 0 }: Weather): number {
  return 100 * Math.ceil((4 * (2 * delayMeanMs + writeMeanMs + syncMeanMs)) / 100);
}

/**
 * So few messages in flight still carry some 15 entries a second. With less the clients, who give up
 * and write anew, ask for more than any cluster could do, and the log is not at its end for minutes.
 */
function leastInflight({ delayMeanMs = 0, writeMeanMs = 0, syncMeanMs = 0 }: Weather): number {
  return Math.ceil((2 * delayMeanMs + writeMeanMs + syncMeanMs) / 70);
}

function drawNetwork(
  weather: Record<string, number>,
  isOn: (oneIn: number) => boolean,
  between: (least: number, most: number) => number,
): void {
  if (isOn(2)) weather['delayMeanMs'] = between(1, 20);
  if (isOn(8)) weather['delayMeanMs'] = between(20, 80);
  if (isOn(3)) weather['lossRate'] = between(1, 30) / 100;
  if (isOn(3)) weather['duplicateRate'] = between(1, 50) / 100;
  if (isOn(3)) weather['reorderRate'] = between(1, 30) / 100;
  if (isOn(4)) weather['retransmitRate'] = between(1, 10) / 100;
  if (isOn(6)) weather['corruptRate'] = between(1, 20) / 1000;
  if (isOn(3)) weather['splitRate'] = between(1, 50) / 100;
  if (isOn(4)) weather['resetRate'] = between(1, 20) / 1000;
  if (isOn(3)) weather['lateMs'] = between(1, 50) * 100;
  if (isOn(3)) weather['lostReplyRate'] = between(1, 30) / 100;
}

function drawClients(
  weather: Record<string, number>,
  isOn: (oneIn: number) => boolean,
  between: (least: number, most: number) => number,
): void {
  weather['keys'] = between(1, 6);
  weather['thinkMeanMs'] = isOn(3) ? between(2, 10) : between(20, 200);
  if (isOn(4)) weather['valueBytes'] = between(100, 4000);
  if (isOn(2)) weather['lessees'] = between(1, 3);
  if (isOn(2)) weather['watchers'] = between(1, 3);
  if (isOn(3)) weather['lockers'] = between(2, 3);
}
