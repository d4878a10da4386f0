/** A core that is watched: passes everything on, and tells an observer what matters to the checks. */
import type { Core, CoreStatus, Effects, Refusal } from '../../../consensus/core.ts';
import type { PeerMessage } from '../../../consensus/messages.ts';
import type {
  Configuration,
  EntryType,
  NodeId,
  SnapshotMetadata,
} from '../../../consensus/types.ts';

/** Told of one life of a core. Each call comes after the core has seen what it speaks of. */
export interface CoreObserver {
  took(effects: Effects): void;
  persisted(sequence: number): void;
  applied(index: number): void;
  readAsked(context: number): void;
  configured(configuration: Configuration): void;
  installed(metadata: SnapshotMetadata): void;
  snapshotSent(ok: boolean): void;
}

export class ObservedCore implements Core {
  readonly #core: Core;
  readonly #observer: CoreObserver;

  constructor(core: Core, observe: (core: Core) => CoreObserver) {
    this.#core = core;
    this.#observer = observe(core);
  }

  tick(): void {
    this.#core.tick();
  }
  step(message: PeerMessage): void {
    this.#core.step(message);
  }
  propose(
    data: readonly Uint8Array[],
  ): { readonly index: number; readonly term: number } | Refusal {
    return this.#core.propose(data);
  }
  proposeChange(
    type: EntryType,
    data: Uint8Array,
  ): { readonly index: number; readonly term: number } | Refusal {
    return this.#core.proposeChange(type, data);
  }
  readIndex(context: number): void {
    this.#observer.readAsked(context);
    this.#core.readIndex(context);
  }
  persisted(sequence: number): void {
    this.#observer.persisted(sequence);
    this.#core.persisted(sequence);
  }
  applied(index: number): void {
    this.#core.applied(index);
    this.#observer.applied(index);
  }
  configure(configuration: Configuration): void {
    this.#core.configure(configuration);
    this.#observer.configured(configuration);
  }
  transferLeadership(to: NodeId): boolean {
    return this.#core.transferLeadership(to);
  }
  campaign(): void {
    this.#core.campaign();
  }
  unreachable(peer: NodeId): void {
    this.#core.unreachable(peer);
  }
  lost(peer: NodeId): void {
    this.#core.lost(peer);
  }
  snapshotSent(peer: NodeId, ok: boolean): void {
    this.#core.snapshotSent(peer, ok);
    this.#observer.snapshotSent(ok);
  }
  snapshotInstalled(metadata: SnapshotMetadata): void {
    this.#observer.installed(metadata);
    this.#core.snapshotInstalled(metadata);
  }
  compact(index: number, keepFrom: number): void {
    this.#core.compact(index, keepFrom);
  }
  termAt(index: number): number {
    return this.#core.termAt(index);
  }
  hasEffects(): boolean {
    return this.#core.hasEffects();
  }
  take(): Effects {
    const effects = this.#core.take();
    this.#observer.took(effects);
    return effects;
  }
  status(): CoreStatus {
    return this.#core.status();
  }
}
