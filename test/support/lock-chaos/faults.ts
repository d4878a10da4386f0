/** What is done to holders and engines, while the lock is held. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Impairment, Links } from '../faulty-network.ts';
import type { Engine } from './engines.ts';
import type { Hold } from './messages.ts';
import type { Storm } from './storm.ts';
import type { WorkerProcess } from './worker-process.ts';

/** Who has the lock at the moment at which the fault comes: it has just looked at it, and works. */
export interface Victim {
  readonly worker: WorkerProcess;
  readonly hold: Hold;
}

export interface Fault {
  readonly what: string;
  /** @defaultValue to every engine */
  readonly appliesTo?: (engine: Engine) => boolean;
  /** From its beginning to its end. `false`: there was nothing to do it to. */
  readonly play: (storm: Storm, victim: Victim) => Promise<boolean>;
}

/** How far clocks jump: past every lock. */
const JUMP_MS = 60_000;

const hasClock = (engine: Engine): boolean => engine.moveClock !== undefined;

/** Until another has the lock: all engines but one hand it on when its time is over. */
async function whileAnotherHolds(storm: Storm, { hold }: Victim): Promise<void> {
  const { ttlMs, freeAfterMs, driver } = storm.engine;
  if (driver === 'postgres') await delay(ttlMs + 500);
  else await storm.othersWrite(hold, 2 * freeAfterMs + 5000);
}

/** Until `heal`, and no longer than until another holds. */
async function hurt(storm: Storm, victim: Victim, links: Links, what: Impairment): Promise<true> {
  const heal = storm.network.impair(links, what);
  await whileAnotherHolds(storm, victim);
  heal();
  return true;
}

export const FAULTS = {
  'holder stopped': {
    what: 'SIGSTOP until another holds the lock, then SIGCONT',
    async play(storm, victim) {
      victim.worker.signal('SIGSTOP');
      await whileAnotherHolds(storm, victim);
      victim.worker.signal('SIGCONT');
      return true;
    },
  },
  'holder killed': {
    what: 'SIGKILL; a new process takes its place',
    async play(storm, victim) {
      await victim.worker.kill();
      await storm.othersWrite(victim.hold, 2 * storm.engine.freeAfterMs + 5000);
      await victim.worker.start();
      return true;
    },
  },
  'event loop blocked': {
    what: "the holder's event loop stands still for longer than the lock lives",
    async play(storm, { worker }) {
      const { ttlMs, freeAfterMs } = storm.engine;
      const forMs = Math.max(ttlMs, freeAfterMs) + 500;
      worker.tell({ kind: 'block', forMs });
      await delay(forMs);
      return true;
    },
  },
  'connection cut': {
    what: "the holder's connections are reset, and new ones as well",
    play: (storm, victim) =>
      hurt(storm, victim, (from, to) => [from, to].includes(victim.worker.name), { cut: true }),
  },
  'replies lost': {
    what: 'the holder and one that waits are heard, and hear nothing',
    play(storm, victim) {
      const deaf = [victim.worker.name];
      // Of nodes too many would be deaf.
      if (storm.engine.seats === undefined) deaf.push(storm.another(victim.worker).name);
      return hurt(storm, victim, (_from, to) => deaf.includes(to), { swallow: true });
    },
  },
  'lock stolen': {
    what: "deleted with the engine's own tools; on PostgreSQL the holder's connection is ended",
    appliesTo: (engine) => engine.steal !== undefined,
    async play(storm, { hold }) {
      await storm.engine.steal!(hold);
      await delay(storm.engine.ttlMs);
      return true;
    },
  },
  'engine restarted': {
    what: 'SIGKILL to all servers at once, and started again; where these are the workers, to them',
    async play(storm) {
      await (storm.engine.restart?.() ?? storm.restartWorkers());
      // Its lock lives on, where the engine has kept it.
      await delay(storm.engine.ttlMs);
      return true;
    },
  },
  'leader killed': {
    what: 'SIGKILL to the server that leads; it comes back when another leads',
    appliesTo: (engine) => engine.killLeader !== undefined,
    async play({ engine }) {
      const revive = await engine.killLeader!();
      if (revive === undefined) return false;
      await delay(1.5 * engine.ttlMs);
      await revive();
      return true;
    },
  },
  'clock set forward': {
    what: 'the wall clock of all servers jumps a minute ahead',
    appliesTo: hasClock,
    async play({ engine }) {
      engine.moveClock!(JUMP_MS);
      await delay(engine.ttlMs);
      return true;
    },
  },
  'clock set back, holder killed': {
    what: 'the wall clock of all servers jumps back by two TTLs; it is set right when another holds',
    appliesTo: hasClock,
    async play(storm, victim) {
      const { engine } = storm;
      engine.moveClock!(-2 * engine.ttlMs);
      await victim.worker.kill();
      await storm.othersWrite(victim.hold, 6 * engine.ttlMs + 5000);
      engine.moveClock!(2 * engine.ttlMs);
      await victim.worker.start();
      return true;
    },
  },
  'clock set back, lock stolen': {
    what: 'the wall clock of all servers jumps back by a minute for a while, and the lock is deleted',
    appliesTo: hasClock,
    async play(storm, { hold }) {
      const { engine } = storm;
      engine.moveClock!(-JUMP_MS);
      await engine.steal!(hold);
      await storm.othersWrite(hold, 4 * engine.ttlMs);
      // Ahead of what it was: what comes after is not to suffer from this.
      engine.moveClock!(JUMP_MS);
      return true;
    },
  },
} satisfies Readonly<Record<string, Fault>>;

export type FaultName = keyof typeof FAULTS;
export const FAULT_NAMES = Object.keys(FAULTS) as FaultName[];
