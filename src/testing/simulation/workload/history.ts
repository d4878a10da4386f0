/**
 * What clients did and were told, held against the chosen history as it comes in.
 *
 * The history puts all writes into one order, and every answer names its revision; so an answer is
 * checked at once and by itself: what it says must be what the history says at that revision, and the
 * revision must not be older than anything that anyone had been told before the call began (strict
 * serializability, which is linearizability of the store as a whole).
 */
import type { KeyValue } from '../../../kv/kv.ts';
import type { Oracle, OracleEvent } from '../checks/oracle.ts';
import type { World } from '../types.ts';

/** One operation of one client, for the checker of linearizability as well. */
export interface Operation {
  readonly id: number;
  readonly client: number;
  readonly kind: string;
  /** For operations on one key. */
  readonly key: string;
  /** Unique, but for the empty value. */
  readonly value: string;
  /** Only where the key was last changed at this revision; -1: in any case. */
  readonly ifModRevision: number;
  readonly callMs: number;
  /** Order of calls and returns: ties in time are none in order. */
  readonly callOrder: number;
  /** Newest revision that anyone had been told when it began. */
  readonly floor: number;
  returnMs: number | undefined;
  returnOrder: number;
  outcome: 'pending' | 'ok' | 'not-applied' | 'unknown';
  /** The revision that the answer named, or that its value was found to be written at. */
  revision: number;
  /** Reads: the value found. Transactions: whether the condition held. */
  found: string | undefined;
  succeeded: boolean;
  /** Of what the read found, or the write wrote: its mod revision. */
  modRevision: number;
}

export class History {
  readonly operations: Operation[];
  readonly #world: World;
  readonly #oracle: Oracle;
  /** By value: who attempted it. */
  readonly #attempts: Map<string, Operation>;
  /** Newest revision that anyone was told. */
  #told: number;
  #order: number;

  constructor(world: World, oracle: Oracle) {
    this.operations = [];
    this.#world = world;
    this.#oracle = oracle;
    this.#attempts = new Map();
    this.#told = 0;
    this.#order = 0;
    oracle.listen({ event: (event) => this.#onEvent(event) });
  }

  /** Newest revision that anyone was told. */
  get told(): number {
    return this.#told;
  }

  begin(client: number, kind: string, key: string, value = '', ifModRevision = -1): Operation {
    const operation: Operation = {
      id: this.operations.length,
      client,
      kind,
      key,
      value,
      ifModRevision,
      callMs: this.#world.nowMs,
      callOrder: ++this.#order,
      floor: this.#told,
      returnMs: undefined,
      returnOrder: 0,
      outcome: 'pending',
      revision: 0,
      found: undefined,
      succeeded: true,
      modRevision: 0,
    };
    this.operations.push(operation);
    if (value !== '') this.#attempts.set(value, operation);
    return operation;
  }

  /** A write, or a transaction, ended without an answer. */
  failed(operation: Operation, outcome: 'not-applied' | 'unknown'): void {
    this.#end(operation, outcome);
    if (outcome === 'unknown') {
      // It may still happen, at any time from now on: no return.
      operation.returnMs = undefined;
      this.#world.reach('write-unknown');
      return;
    }
    this.#world.reach('write-refused');
    if (operation.revision > 0) this.#violateRefused(operation);
  }

  /** A write was acknowledged with this revision. */
  wrote(operation: Operation, revision: number): void {
    this.#end(operation, 'ok');
    const isNew = revision > operation.floor;
    if (!isNew) {
      this.#violate(
        'stale-write',
        `${describe(operation)} was given revision ${revision}, but ${operation.floor} had been told before it began`,
      );
    }
    if (operation.value !== '' && operation.revision !== revision) {
      this.#violate(
        'acknowledged-lost',
        `${describe(operation)} was acknowledged with revision ${revision}; in the history its value ` +
          (operation.revision === 0 ? 'never came' : `came at ${operation.revision}`),
      );
    }
    operation.revision = revision;
    operation.modRevision = revision;
    this.#tell(revision);
  }

  /** A transaction's condition did not hold, as of this revision. */
  refusedByCondition(operation: Operation, revision: number): void {
    this.#end(operation, 'ok');
    operation.succeeded = false;
    const held = this.#oracle.valueAt(operation.key, revision)?.revision ?? 0;
    if (held === operation.ifModRevision) {
      this.#violate(
        'wrong-answer',
        `${describe(operation)}: the condition failed at ${revision}, where the history fulfils it`,
      );
    }
    if (operation.revision > 0) this.#violateRefused(operation);
    operation.revision = revision;
    this.#requireFresh(operation, revision);
  }

  /** A transaction's condition held and it wrote at this revision. */
  wroteOnCondition(operation: Operation, revision: number): void {
    const held = this.#oracle.valueAt(operation.key, revision - 1)?.revision ?? 0;
    if (held !== operation.ifModRevision) {
      this.#violate(
        'wrong-answer',
        `${describe(operation)}: the condition held at ${revision}, but the key had been changed at ${held}`,
      );
    }
    this.wrote(operation, revision);
  }

  /** A delete was acknowledged: it deleted so many keys at this revision, or found none. */
  deleted(operation: Operation, revision: number, count: number): void {
    if (count === 0) {
      this.read(operation, revision, undefined);
      return;
    }
    this.wrote(operation, revision);
    const change = this.#oracle.lastChange(operation.key, revision);
    if (change?.type === 'delete' && change.revision === revision) return;
    this.#violate(
      'acknowledged-lost',
      `${describe(operation)} at ${revision} is not in the history`,
    );
  }

  /** A linearizable read of one key. */
  read(operation: Operation, revision: number, found: KeyValue | undefined): void {
    this.#end(operation, 'ok');
    operation.revision = revision;
    operation.found = found?.value.toString('latin1');
    operation.modRevision = found?.modRevision ?? 0;
    this.#requireFresh(operation, revision);
    this.requireSame(operation, revision, found);
  }

  /** A linearizable read of a range. */
  readRange(
    operation: Operation,
    revision: number,
    keys: readonly string[],
    kvs: readonly KeyValue[],
  ): void {
    this.#end(operation, 'ok');
    operation.revision = revision;
    this.#requireFresh(operation, revision);
    this.requireSameRange(operation, revision, keys, kvs);
  }

  /** A read that may be old ended: what it says must have been true. */
  readOld(operation: Operation): void {
    this.#end(operation, 'ok');
  }

  /** What was read is what the history says at that revision. */
  requireSame(operation: Operation, revision: number, found: KeyValue | undefined): void {
    if (revision > this.#oracle.revision) {
      this.#violate(
        'wrong-answer',
        `${describe(operation)} answered for revision ${revision}; the history has ${this.#oracle.revision}`,
      );
      return;
    }
    const expected = this.#oracle.valueAt(operation.key, revision);
    if (isSame(expected, found)) return;
    this.#violate(
      'wrong-answer',
      `${describe(operation)} found ${shown(found)} at revision ${revision}; the history has ${shownEvent(expected)}`,
    );
  }

  requireSameRange(
    operation: Operation,
    revision: number,
    keys: readonly string[],
    kvs: readonly KeyValue[],
  ): void {
    const byKey = new Map(kvs.map((kv) => [kv.key.toString('latin1'), kv]));
    for (const key of keys) {
      const expected = this.#oracle.valueAt(key, revision);
      const found = byKey.get(key);
      if (isSame(expected, found)) continue;
      this.#violate(
        'wrong-answer',
        `${describe(operation)} found ${shown(found)} for ${key} at revision ${revision}; the history has ${shownEvent(expected)}`,
      );
    }
  }

  #requireFresh(operation: Operation, revision: number): void {
    if (revision < operation.floor) {
      this.#violate(
        'stale-read',
        `${describe(operation)} answered for revision ${revision}, but ${operation.floor} had been told before it began`,
      );
    }
    this.#tell(revision);
  }

  #tell(revision: number): void {
    if (revision > this.#told) this.#told = revision;
  }

  #end(operation: Operation, outcome: 'ok' | 'not-applied' | 'unknown'): void {
    operation.outcome = outcome;
    operation.returnMs = this.#world.nowMs;
    operation.returnOrder = ++this.#order;
    this.#world.trace(`${operation.kind} ${outcome}`, operation.id);
  }

  #onEvent({ type, key, value, revision }: OracleEvent): void {
    if (type !== 'put' || value === '' || !key.startsWith('k')) return;
    const operation = this.#attempts.get(value);
    if (operation === undefined || !operation.key.split(',').includes(key)) {
      this.#violate('phantom', `the history has ${key} = ${short(value)}, which nobody wrote`);
      return;
    }
    if (operation.revision > 0 && operation.revision !== revision) {
      this.#violate(
        'applied-twice',
        `${describe(operation)} is in the history at ${operation.revision} and at ${revision}`,
      );
    }
    operation.revision = revision;
    operation.modRevision = revision;
    if (operation.outcome === 'not-applied') this.#violateRefused(operation);
  }

  #violateRefused(operation: Operation): void {
    this.#violate(
      'refused-but-applied',
      `${describe(operation)} was refused as not applied, and is in the history at ${operation.revision}`,
    );
  }

  #violate(property: string, message: string): void {
    this.#world.violate(property, message);
  }
}

function isSame(expected: OracleEvent | undefined, found: KeyValue | undefined): boolean {
  if (expected === undefined || found === undefined) return expected === found;
  return (
    expected.revision === found.modRevision &&
    expected.createRevision === found.createRevision &&
    expected.version === found.version &&
    expected.value === found.value.toString('latin1')
  );
}

function describe({ client, kind, key, value }: Operation): string {
  return `client ${client}: ${kind} ${key}${value === '' ? '' : ` = ${short(value)}`}`;
}

function shown(found: KeyValue | undefined): string {
  if (found === undefined) return 'nothing';
  return `${short(found.value.toString('latin1'))} of ${found.modRevision}`;
}

function shownEvent(event: OracleEvent | undefined): string {
  return event === undefined ? 'nothing' : `${short(event.value)} of ${event.revision}`;
}

function short(value: string): string {
  return value.length <= 24 ? `'${value}'` : `'${value.slice(0, 24)}…' (${value.length} bytes)`;
}
