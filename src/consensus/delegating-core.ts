/** A core in front of another: it passes everything on. Whoever extends it says what is different. */
import type { Appended, Core, CoreStatus, Effects, Refusal } from './core.ts';
import type { PeerMessage } from './messages.ts';
import type { Configuration, EntryType, NodeId, SnapshotMetadata } from './types.ts';

export abstract class DelegatingCore implements Core {
  protected readonly core: Core;

  constructor(core: Core) {
    this.core = core;
  }

  tick(): void {
    this.core.tick();
  }
  step(message: PeerMessage): void {
    this.core.step(message);
  }
  propose(data: readonly Uint8Array[]): Appended | Refusal {
    return this.core.propose(data);
  }
  proposeChange(type: EntryType, data: Uint8Array): Appended | Refusal {
    return this.core.proposeChange(type, data);
  }
  readIndex(context: number): void {
    this.core.readIndex(context);
  }
  persisted(sequence: number): void {
    this.core.persisted(sequence);
  }
  applied(index: number): void {
    this.core.applied(index);
  }
  configure(configuration: Configuration): void {
    this.core.configure(configuration);
  }
  transferLeadership(to: NodeId): boolean {
    return this.core.transferLeadership(to);
  }
  campaign(): void {
    this.core.campaign();
  }
  unreachable(peer: NodeId): void {
    this.core.unreachable(peer);
  }
  lost(peer: NodeId): void {
    this.core.lost(peer);
  }
  snapshotSent(peer: NodeId, ok: boolean): void {
    this.core.snapshotSent(peer, ok);
  }
  snapshotInstalled(metadata: SnapshotMetadata): void {
    this.core.snapshotInstalled(metadata);
  }
  compact(index: number, keepFrom: number): void {
    this.core.compact(index, keepFrom);
  }
  termAt(index: number): number {
    return this.core.termAt(index);
  }
  hasEffects(): boolean {
    return this.core.hasEffects();
  }
  take(): Effects {
    return this.core.take();
  }
  status(): CoreStatus {
    return this.core.status();
  }
}
