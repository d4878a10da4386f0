/**
 * One run: a cluster of real nodes in a world of its own, a storm of faults, calm, and the end.
 *
 *     storyOf(options)      the seed decides: nodes, weather, faults (`parts.drawStory`)
 *     storm                 nodes start, clients work, faults are played at their times
 *     calm                  faults end, every seat runs; `parts.healed` must resolve in time
 *     close                 clients stop, nodes are closed; nothing may be left open
 *     end                   `checks.end()`: what can only be judged as a whole
 *
 * The parts that decide what happens and what must hold come in through `SimulationParts`
 * (`parts.ts`): checks see every core through `ClusterObserver.wrapCore`, every message that is sent
 * and received, every start and end of a life, and the world after every event.
 */

import type { CoreLimits } from '../../consensus/surroundings.ts';
import { systemClock } from '../../core/clock.ts';
import { QuorateError } from '../../core/errors.ts';
import type { NodeOptions } from '../../node.ts';
import { SimulatedCluster } from './cluster.ts';
import { defaultParts } from './default-parts.ts';
import type { SimulatedNode } from './life.ts';
import type { Checks, SimulationContext, SimulationParts, Workload } from './parts.ts';
import {
  SIMULATOR_VERSION,
  type SimulationOptions,
  type SimulationResult,
  type Story,
} from './types.ts';
import { errorText, SimulatedWorld } from './world.ts';

/** How long closing every node may take, in virtual time. */
const CLOSE_MS = 60_000;

const PROGRESS_INTERVAL_MS = 100;
/** Events between two looks at the real clock. */
const PROGRESS_EVENTS = 512;

/** Draws the story of `options`, or takes the one given. Throws `ERR_INVALID_ARGUMENT`. */
export function storyOf(
  options: SimulationOptions,
  parts: Pick<SimulationParts, 'drawStory'> = defaultParts,
): Story {
  if (options.story !== undefined) {
    if (options.story.version === SIMULATOR_VERSION) return options.story;
    throw new QuorateError(
      'ERR_INVALID_ARGUMENT',
      `story: of version ${options.story.version}; this simulator plays version ${SIMULATOR_VERSION}`,
    );
  }
  const { seed } = options;
  if (!Number.isInteger(seed) || seed < 0 || seed > 0xffff_ffff) {
    throw new QuorateError(
      'ERR_INVALID_ARGUMENT',
      `seed: ${seed} is no whole number from 0 to 4294967295`,
    );
  }
  return parts.drawStory(seed, options.consensus ?? 'raft', options.workload);
}

/**
 * Runs a story. Equal options give equal results, `traceHash` and all; nothing outside is touched.
 * Resolves also where a property did not hold: see `violation`. Throws `ERR_INVALID_ARGUMENT`.
 */
export function simulate(
  options: SimulationOptions,
  parts: SimulationParts = defaultParts,
): Promise<SimulationResult> {
  return simulateParts(options, parts);
}

/** As `simulate`, of whatever lives on the seats. */
export async function simulateParts<Node extends SimulatedNode>(
  options: SimulationOptions,
  parts: SimulationParts<Node>,
): Promise<SimulationResult> {
  const story = storyOf(options, parts);
  const world = new SimulatedWorld({ seed: story.seed, keepTrace: options.keepTrace ?? false });
  const checks = parts.createChecks(story);
  const cluster = new SimulatedCluster<Node>({
    world,
    open: parts.open,
    nodes: story.nodes,
    settings: nodeSettings(story),
    driftPpm: story.weather['driftPpm'] ?? 0,
    clockOffsetMs: story.weather['offsetMs'] ?? 0,
    observer: checks.observer,
  });
  const run = new Run({ story, world, cluster }, checks, parts, options);
  const onRejection = (error: unknown): void => {
    world.violate('unhandled-rejection', errorText(error));
  };
  process.on('unhandledRejection', onRejection);
  try {
    return await run.play();
  } finally {
    process.off('unhandledRejection', onRejection);
  }
}

/** The names of a weather that are settings of a node. */
const NODE_SETTINGS = [
  'heartbeatMs',
  'electionMs',
  'requestTimeoutMs',
  'snapshotEntries',
  'keepEntries',
] as const satisfies readonly (keyof NodeOptions)[];

/** The names of a weather that limit a core. */
const CORE_LIMITS = [
  'maxAppendBytes',
  'maxInflightMessages',
  'maxUncommittedEntries',
  'maxCommittedEntriesPerTake',
] as const satisfies readonly (keyof CoreLimits)[];

/** Without a word of the weather: segments small enough that filling them with zeros costs nothing. */
const SEGMENT_BYTES = 64 * 1024;

function nodeSettings({ weather, consensus }: Story): Partial<NodeOptions> {
  const leaseDrift = (weather['leaseDriftPpm'] ?? 0) / 1_000_000;
  const hasLeases = leaseDrift > 0 && consensus === 'raft';
  return {
    consensus,
    ...pick(weather, NODE_SETTINGS),
    ...(hasLeases ? { leaseReads: { maxClockDrift: leaseDrift } } : {}),
    surroundings: {
      segmentBytes: SEGMENT_BYTES,
      ...pick(weather, ['segmentBytes', 'leaseMs']),
      coreLimits: pick(weather, CORE_LIMITS),
    },
  };
}

function pick(weather: Story['weather'], names: readonly string[]): Record<string, number> {
  return Object.fromEntries(Object.entries(weather).filter(([name]) => names.includes(name)));
}

class Run<Node extends SimulatedNode> {
  readonly #context: SimulationContext<Node>;
  readonly #checks: Checks<Node>;
  readonly #parts: SimulationParts<Node>;
  readonly #options: SimulationOptions;
  #workload: Workload | undefined = undefined;
  #progressDueMs = 0;

  constructor(
    context: SimulationContext<Node>,
    checks: Checks<Node>,
    parts: SimulationParts<Node>,
    options: SimulationOptions,
  ) {
    this.#context = context;
    this.#checks = checks;
    this.#parts = parts;
    this.#options = options;
  }

  async play(): Promise<SimulationResult> {
    const { world } = this.#context;
    this.#checks.begin(this.#context);
    world.afterEvent = () => this.#afterEvent();
    const phases = [() => this.#storm(), () => this.#calm(), () => this.#close()];
    for (const phase of phases) {
      if (world.violation === undefined) await phase();
    }
    if (world.violation === undefined) this.#checks.end();
    return this.#result();
  }

  async #storm(): Promise<void> {
    const { world, cluster, story } = this.#context;
    this.#parts.setWeather(this.#context);
    world.after(0, () => {
      for (const seat of cluster.seats) cluster.start(seat);
      this.#workload = this.#parts.startWorkload(this.#context, this.#checks);
    });
    for (const fault of story.faults) {
      world.after(fault.atMs, () => {
        world.trace('play', fault.kind, fault.node);
        this.#parts.playFault(this.#context, fault);
      });
    }
    await world.run(story.stormMs);
  }

  async #calm(): Promise<void> {
    const { world } = this.#context;
    world.trace('calm');
    this.#parts.endFaults(this.#context);
    let healed = false;
    const fail = (error: unknown): void => world.violate('liveness', errorText(error));
    const onHealed = (): void => {
      healed = true;
    };
    this.#parts.healed(this.#context, this.#checks, this.#workload!).then(onHealed, fail);
    const healMs = this.#parts.healMs(this.#context);
    await world.run(world.nowMs + healMs, () => !healed);
    if (!healed && world.violation === undefined) {
      world.violate('liveness', `not healed ${healMs} ms after the last fault`);
    }
  }

  async #close(): Promise<void> {
    const { world, cluster } = this.#context;
    world.trace('close');
    const workload = this.#workload!;
    workload.stop();
    await world.run(world.nowMs + CLOSE_MS, () => workload.pending > 0);
    if (world.violation !== undefined) return;
    if (workload.pending > 0) {
      return world.violate('liveness', `${workload.pending} operations are never answered`);
    }
    world.after(0, () => {
      for (const seat of cluster.seats) cluster.stop(seat);
    });
    const open = (): boolean => cluster.seats.some((seat) => seat.life !== undefined);
    await world.run(world.nowMs + CLOSE_MS, open);
    if (open() && world.violation === undefined) {
      world.violate('close', `nodes are not closed after ${CLOSE_MS} ms`);
    }
  }

  #afterEvent(): void {
    const { world } = this.#context;
    this.#checks.afterEvent();
    const { onProgress } = this.#options;
    if (onProgress === undefined || world.events % PROGRESS_EVENTS !== 0) return;
    const nowMs = systemClock.now();
    if (nowMs < this.#progressDueMs) return;
    this.#progressDueMs = nowMs + PROGRESS_INTERVAL_MS;
    onProgress({ virtualMs: world.nowMs, events: world.events });
  }

  #result(): SimulationResult {
    const { world, story } = this.#context;
    return {
      seed: story.seed,
      story,
      traceHash: world.traceHash,
      events: world.events,
      virtualMs: world.nowMs,
      violation: world.violation,
      faults: { ...world.faults },
      reached: { ...world.reached },
      operations: { ...this.#workload?.operations },
      trace: world.traceLines,
    };
  }
}
