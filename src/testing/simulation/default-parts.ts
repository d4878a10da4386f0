/** The parts of a run as the simulator has them: weather, nemesis, clients, checks and healing. */
import { openNode } from '../../node.ts';
import { SimulationChecks } from './checks/simulation-checks.ts';
import { drawStory } from './draw-story.ts';
import { FAULT_KINDS } from './faults.ts';
import { Healing, healMs } from './liveness.ts';
import { Nemesis } from './nemesis.ts';
import type { SimulationContext, SimulationParts } from './parts.ts';
import type { PlannedFault } from './types.ts';
import { weatherValue } from './weather.ts';
import { ClientWorkload, hostsOf } from './workload/workload.ts';

/** What belongs to one run, by its world. */
const nemeses = new WeakMap<object, Nemesis>();

function nemesisOf(context: SimulationContext): Nemesis {
  return nemeses.get(context.world)!;
}

function setWeather({ story, cluster }: SimulationContext): void {
  const value = (name: Parameters<typeof weatherValue>[1]): number =>
    weatherValue(story.weather, name);
  Object.assign(cluster.network.weather, {
    delayMinMs: value('delayMinMs'),
    delayMeanMs: value('delayMeanMs'),
    retransmitRate: value('retransmitRate'),
    corruptRate: value('corruptRate'),
    splitRate: value('splitRate'),
    resetRate: value('resetRate'),
  });
  Object.assign(cluster.messages, {
    lossRate: value('lossRate'),
    duplicateRate: value('duplicateRate'),
    reorderRate: value('reorderRate'),
    lateMs: value('lateMs'),
    lostReplyRate: value('lostReplyRate'),
  });
  for (const { disk } of cluster.seats) {
    Object.assign(disk.weather, {
      opMeanMs: value('writeMeanMs'),
      syncMinMs: value('syncMinMs'),
      syncMeanMs: value('syncMeanMs'),
    });
  }
}

/** Plays a fault of a story. */
export function playFault(nemesis: Nemesis, fault: PlannedFault): void {
  const { seats } = nemesis;
  // A shrunk story may have fewer nodes than the one that its faults were drawn for.
  const seat = seats[(fault.node ?? 0) % seats.length]!;
  FAULT_KINDS[fault.kind]?.play(nemesis, fault, seat, fault.forMs ?? 0);
}

/** The parts of `simulate`. */
export const defaultParts: SimulationParts = {
  open: openNode,
  drawStory,
  createChecks: (story) => new SimulationChecks(story),
  setWeather,
  playFault: (context, fault) => playFault(nemesisOf(context), fault),
  endFaults: (context) => nemesisOf(context).calm(),
  startWorkload(context, checks) {
    const own = checks as SimulationChecks;
    const nemesis = new Nemesis(context, own);
    nemeses.set(context.world, nemesis);
    const { atlas, oracle } = own;
    const hosts = hostsOf(context, (seat, sinceMs) => atlas.wasPausedSince(seat, sinceMs));
    const workload = new ClientWorkload(context, hosts, oracle);
    nemesis.workload = workload;
    workload.start();
    return workload;
  },
  healed(context, checks, workload) {
    const own = checks as SimulationChecks;
    const clients = workload as ClientWorkload;
    return new Healing(context, own, clients, nemesisOf(context)).healed();
  },
  healMs,
};
