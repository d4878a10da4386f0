import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import * as proto from '../proto/etcd.ts';
import type * as pb from '../proto/messages.ts';
import {
  isReadOnlyTxn,
  isSerializableTxn,
  validateDeleteRange,
  validatePut,
  validateRange,
  validateTxn,
} from './validate.ts';

const put = (key: string): pb.RequestOp => {
  return proto.RequestOp.create({ requestPut: proto.PutRequest.create({ key }) });
};
const remove = (key: string, rangeEnd = ''): pb.RequestOp => {
  return proto.RequestOp.create({
    requestDeleteRange: proto.DeleteRangeRequest.create({ key, rangeEnd }),
  });
};
const range = (partial: Partial<pb.RangeRequest>): pb.RequestOp => {
  return proto.RequestOp.create({ requestRange: proto.RangeRequest.create(partial) });
};
const nested = (success: pb.RequestOp[], failure: pb.RequestOp[] = []): pb.RequestOp => {
  return proto.RequestOp.create({ requestTxn: proto.TxnRequest.create({ success, failure }) });
};

function check(success: pb.RequestOp[], failure: pb.RequestOp[] = []): string {
  try {
    validateTxn(proto.TxnRequest.create({ success, failure }));
    return 'ok';
  } catch (error) {
    return (error as { code: string }).code;
  }
}

describe('a request by itself', () => {
  it('is refused without a key, before anything else is looked at', () => {
    const empty = { code: 'ERR_EMPTY_KEY' };
    assert.throws(() => validateRange(proto.RangeRequest.create({ sortOrder: 9 })), empty);
    assert.throws(() => validateDeleteRange(proto.DeleteRangeRequest.create()), empty);
    const both = proto.PutRequest.create({ ignoreValue: true, value: 'v' });
    assert.throws(() => validatePut(both), empty);
  });

  it('is refused with a sort that does not exist', () => {
    for (const partial of [{ sortOrder: 3 }, { sortOrder: -1 }, { sortTarget: 5 }]) {
      const request = proto.RangeRequest.create({ key: 'a', ...partial });
      assert.throws(() => validateRange(request), { code: 'ERR_INVALID_SORT' });
    }
  });

  it('that keeps a value or lease must not bring one', () => {
    const request = { key: 'a', value: 'v', lease: 1n, ignoreValue: true, ignoreLease: true };
    const refused = (partial: Partial<pb.PutRequest>, code: string): void => {
      const put = proto.PutRequest.create({ ...request, ...partial });
      assert.throws(() => validatePut(put), { code });
    };
    refused({}, 'ERR_VALUE_PROVIDED');
    refused({ value: '' }, 'ERR_LEASE_PROVIDED');
    validatePut(proto.PutRequest.create({ ...request, value: '', lease: 0n }));
  });
});

describe('a transaction', () => {
  it('has at most 128 operations in a list, those of its parents taken off', () => {
    const many = (count: number): pb.RequestOp[] =>
      Array.from({ length: count }, () => remove('a'));
    assert.equal(check(many(128)), 'ok');
    assert.equal(check([], many(129)), 'ERR_TOO_MANY_OPERATIONS');
    assert.equal(check([...many(99), nested(many(28))]), 'ok');
    assert.equal(check([...many(99), nested(many(29))]), 'ERR_TOO_MANY_OPERATIONS');
  });

  it('is refused for an empty operation, as for a key that is not found', () => {
    assert.equal(check([proto.RequestOp.create()]), 'ERR_KEY_NOT_FOUND');
  });

  it('puts a key once', () => {
    assert.equal(check([put('a'), put('b')]), 'ok');
    assert.equal(check([put('a'), put('a')]), 'ERR_DUPLICATE_KEY');
    assert.equal(check([put('a')], [put('a')]), 'ok');
    assert.equal(check([], [put('a'), put('a')]), 'ERR_DUPLICATE_KEY');
    assert.equal(check([put('a'), nested([put('a')])]), 'ERR_DUPLICATE_KEY');
    assert.equal(check([nested([put('a')]), nested([], [put('a')])]), 'ERR_DUPLICATE_KEY');
    assert.equal(check([nested([put('a')], [put('a')])]), 'ok');
  });

  it('does not put what it deletes, on any level, but may delete and read a key often', () => {
    assert.equal(check([remove('a', 'c'), put('b')]), 'ERR_DUPLICATE_KEY');
    assert.equal(check([remove('a', 'c'), put('c')]), 'ok');
    assert.equal(check([remove('a'), nested([put('a')])]), 'ERR_DUPLICATE_KEY');
    assert.equal(check([put('a'), nested([remove('a')])]), 'ERR_DUPLICATE_KEY');
    assert.equal(check([remove('a'), remove('a', 'b'), range({ key: 'a' })]), 'ok');
  });

  it('may put what it deletes by an open range: etcd does not see it', () => {
    assert.equal(check([remove('a', '\0'), put('b')]), 'ok');
  });

  it('is read-only with ranges alone, and serializable if all of them are', () => {
    const of = (success: pb.RequestOp[]): pb.TxnRequest => proto.TxnRequest.create({ success });
    const local = range({ key: 'a', serializable: true });
    assert.equal(isReadOnlyTxn(of([range({ key: 'a' })])), true);
    assert.equal(isReadOnlyTxn(of([nested([])])), false);
    assert.equal(isReadOnlyTxn(of([put('a')])), false);
    assert.equal(isSerializableTxn(of([local, local])), true);
    assert.equal(isSerializableTxn(of([local, range({ key: 'a' })])), false);
    assert.equal(isSerializableTxn(of([])), false);
  });
});
