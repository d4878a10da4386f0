/** How the nodes are: a table that is repainted while the cluster starts, then a line a change. */
import { systemClock } from '../../core/clock.ts';
import { type Io, line, paint } from '../io.ts';
import type { NodePlan, NodeState } from './child-node.ts';

export class Display {
  readonly #io: Io;
  readonly #nodes: readonly NodePlan[];
  readonly #states = new Map<string, NodeState>();
  readonly #startedAt = systemClock.now();
  #painted = false;
  #finished = false;

  constructor(io: Io, nodes: readonly NodePlan[]) {
    this.#io = io;
    this.#nodes = nodes;
  }

  update(name: string, state: NodeState): void {
    const before = this.#states.get(name);
    this.#states.set(name, state);
    if (this.#finished) {
      const text = this.#change(before, state);
      if (text !== undefined) line(this.#io, `${this.#clock()}  ${name}  ${text}`);
    } else if (this.#io.terminal) this.#repaint();
  }

  /** Ends the repainted table: where it was not shown live, it is printed now. */
  finish(): void {
    if (this.#finished) return;
    this.#finished = true;
    if (!this.#io.terminal) this.#repaint();
  }

  #repaint(): void {
    if (this.#painted) this.#io.stdout.write(`\u001b[${this.#nodes.length}A`);
    this.#painted = true;
    for (const node of this.#nodes) {
      const state = this.#states.get(node.name);
      const url = `http://${node.host}:${node.clientPort}`;
      const pid = state?.pid === undefined ? '' : paint(this.#io, 'gray', `pid ${state.pid}`);
      const text = `  ${node.name}  ${url.padEnd(24)} ${this.#phase(state)}  ${pid}`;
      this.#io.stdout.write(this.#io.terminal ? `\u001b[2K${text}\n` : `${text}\n`);
    }
  }

  #phase(state: NodeState | undefined): string {
    if (state === undefined || state.phase === 'starting') {
      return paint(this.#io, 'yellow', 'starting'.padEnd(8));
    }
    if (state.phase !== 'ready') return paint(this.#io, 'red', state.phase.padEnd(8));
    const colour = state.role === 'leader' ? 'green' : 'cyan';
    return paint(this.#io, colour, (state.role ?? 'ready').padEnd(8));
  }

  #change(before: NodeState | undefined, now: NodeState): string | undefined {
    const { phase, role, term, note } = now;
    if (phase === 'down') return paint(this.#io, 'red', note);
    if (phase === 'stopping' || phase === 'stopped') return undefined;
    if (phase === 'starting') {
      return before?.phase === 'starting' ? undefined : `started again, pid ${now.pid}`;
    }
    if (before?.phase !== 'ready') return paint(this.#io, 'green', `is back as ${role}`);
    if (role === 'leader' && (before.role !== 'leader' || before.term !== term)) {
      return paint(this.#io, 'green', `is the leader now (term ${term})`);
    }
    return undefined;
  }

  #clock(): string {
    const seconds = (systemClock.now() - this.#startedAt) / 1000;
    return paint(this.#io, 'gray', `${seconds.toFixed(1).padStart(7)} s`);
  }
}
