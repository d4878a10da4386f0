/**
 * Random requests for tests of the store: few keys, so that they meet, and every option and mistake
 * that the API knows. What comes out depends on the seed alone.
 */
import { prefixEnd } from '../core/bytes.ts';
import type { Random } from '../core/random.ts';
import {
  Compare,
  DeleteRangeRequest,
  PutRequest,
  RangeRequest,
  RequestOp,
  TxnRequest,
} from '../proto/etcd.ts';
import type * as pb from '../proto/messages.ts';

/** What the generator takes into account: revisions to aim at, and leases to attach to. */
export interface Surroundings {
  readonly revision: number;
  readonly compactRevision: number;
  readonly leases: readonly bigint[];
}

const KEYS = ['a', 'a/1', 'a/2', 'a/2/x', 'b', 'b\0', 'b\xff', 'c', 'd', '\xff', '\xff\xff', '\0'];

export class RequestGenerator {
  readonly #random: Random;
  #values = 0;

  constructor(random: Random) {
    this.#random = random;
  }

  below(bound: number): number {
    return this.#random.below(bound);
  }
  oneIn(count: number): boolean {
    return this.#random.below(count) === 0;
  }
  pick<T>(list: readonly T[]): T {
    return list[this.#random.below(list.length)]!;
  }
  key(): string {
    return this.oneIn(60) ? '' : this.pick(KEYS);
  }

  /** A range of any kind, now and then an empty or inverted one. */
  bounds(): { key: string; rangeEnd: string } {
    const key = this.key();
    switch (this.below(5)) {
      case 0:
        return { key, rangeEnd: prefixEnd(key) };
      case 1:
        return { key, rangeEnd: '\0' };
      case 2:
        return { key, rangeEnd: this.pick(KEYS) };
      default:
        return { key, rangeEnd: '' };
    }
  }

  revision({ revision, compactRevision }: Surroundings): number {
    if (!this.oneIn(3)) return 0;
    const low = Math.max(compactRevision - 2, 0);
    return low + this.below(revision - low + 3);
  }

  range(around: Surroundings): pb.RangeRequest {
    const maybe = (): number => (this.oneIn(8) ? this.below(around.revision + 1) : 0);
    return RangeRequest.create({
      ...this.bounds(),
      limit: this.oneIn(3) ? this.below(5) : 0,
      revision: this.revision(around),
      // Targets other than the key tie often, and ties have no promised order: revisions do not.
      sortOrder: this.oneIn(2) ? this.below(3) : 0,
      sortTarget: this.oneIn(40) ? 7 : this.oneIn(3) ? this.pick([0, 0, 4]) : 0,
      serializable: this.oneIn(4),
      keysOnly: this.oneIn(6),
      countOnly: this.oneIn(8),
      minModRevision: maybe(),
      maxModRevision: maybe(),
      minCreateRevision: maybe(),
      maxCreateRevision: maybe(),
    });
  }

  put(around: Surroundings): pb.PutRequest {
    const ignoreValue = this.oneIn(12);
    const ignoreLease = this.oneIn(12);
    return PutRequest.create({
      key: this.key(),
      value: ignoreValue && !this.oneIn(4) ? '' : `v${this.#values++}`,
      lease: this.oneIn(4) ? this.lease(around) : 0n,
      prevKv: this.oneIn(2),
      ignoreValue,
      ignoreLease,
    });
  }

  lease({ leases }: Surroundings): bigint {
    return leases.length === 0 || this.oneIn(10) ? 0x7777n : this.pick(leases);
  }

  deleteRange(): pb.DeleteRangeRequest {
    return DeleteRangeRequest.create({ ...this.bounds(), prevKv: this.oneIn(2) });
  }

  txn(around: Surroundings, depth = 0): pb.TxnRequest {
    const list = <T>(most: number, make: () => T): T[] => {
      return Array.from({ length: this.below(most + 1) }, make);
    };
    return TxnRequest.create({
      compare: list(2, () => this.compare(around)),
      success: list(3, () => this.operation(around, depth)),
      failure: list(3, () => this.operation(around, depth)),
    });
  }

  operation(around: Surroundings, depth: number): pb.RequestOp {
    const kind = this.below(20);
    if (kind < 9) return RequestOp.create({ requestPut: this.put(around) });
    if (kind < 12) return RequestOp.create({ requestDeleteRange: this.deleteRange() });
    if (kind < 17 || depth >= 3) return RequestOp.create({ requestRange: this.range(around) });
    return RequestOp.create({ requestTxn: this.txn(around, depth + 1) });
  }

  compare(around: Surroundings): pb.CompareMessage {
    const target = this.below(5);
    const compare = Compare.create({
      ...this.bounds(),
      result: this.below(4),
      target,
    });
    if (target === 0) compare.version = this.below(4);
    if (target === 1) compare.createRevision = this.below(around.revision + 2);
    if (target === 2) compare.modRevision = this.below(around.revision + 2);
    if (target === 3) compare.value = `v${this.below(this.#values + 1)}`;
    if (target === 4) compare.lease = this.oneIn(2) ? 0n : this.lease(around);
    return compare;
  }
}
