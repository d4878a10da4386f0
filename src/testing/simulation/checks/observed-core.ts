/** A core that is watched: passes everything on, and tells an observer what matters to the checks. */
import type { Core, Effects } from '../../../consensus/core.ts';
import { DelegatingCore } from '../../../consensus/delegating-core.ts';
import type { Configuration, NodeId, SnapshotMetadata } from '../../../consensus/types.ts';

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

export class ObservedCore extends DelegatingCore {
  readonly #observer: CoreObserver;

  constructor(core: Core, observe: (core: Core) => CoreObserver) {
    super(core);
    this.#observer = observe(core);
  }

  override readIndex(context: number): void {
    this.#observer.readAsked(context);
    super.readIndex(context);
  }
  override persisted(sequence: number): void {
    this.#observer.persisted(sequence);
    super.persisted(sequence);
  }
  override applied(index: number): void {
    super.applied(index);
    this.#observer.applied(index);
  }
  override configure(configuration: Configuration): void {
    super.configure(configuration);
    this.#observer.configured(configuration);
  }
  override snapshotSent(peer: NodeId, ok: boolean): void {
    super.snapshotSent(peer, ok);
    this.#observer.snapshotSent(ok);
  }
  override snapshotInstalled(metadata: SnapshotMetadata): void {
    this.#observer.installed(metadata);
    super.snapshotInstalled(metadata);
  }
  override take(): Effects {
    const effects = super.take();
    this.#observer.took(effects);
    return effects;
  }
}
