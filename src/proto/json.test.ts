import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  CompactionRequest,
  LeaseGrantRequest,
  PutRequest,
  RangeRequest,
  RangeResponse,
  StatusResponse,
  TxnRequest,
} from './etcd.ts';
import { fromJson, toJson } from './json.ts';

test('a response has the names and forms that etcd gives it', () => {
  const message = RangeResponse.create({
    header: { clusterId: 14841639068965178418n, memberId: 2n, revision: 3, raftTerm: 0 },
    kvs: [{ key: 'foo', createRevision: 2, modRevision: 3, version: 2, value: '\xff', lease: -5n }],
    count: 1,
  });
  assert.equal(
    toJson(RangeResponse, message),
    '{"header":{"cluster_id":"14841639068965178418","member_id":"2","revision":"3"},' +
      '"kvs":[{"key":"Zm9v","create_revision":"2","mod_revision":"3","version":"2","value":"/w==","lease":"-5"}],' +
      '"count":"1"}',
  );
  assert.equal(
    toJson(
      StatusResponse,
      StatusResponse.create({ dbSize: 7, downgradeInfo: { enabled: false, targetVersion: '' } }),
    ),
    '{"dbSize":"7","downgradeInfo":{}}',
  );
});

test('both spellings of names, numbers and names of enums, and unknown fields are read', () => {
  const expected = RangeRequest.create({ key: 'foo', rangeEnd: 'fop', limit: 5, sortOrder: 2 });
  for (const text of [
    '{"key":"Zm9v","range_end":"Zm9w","limit":"5","sort_order":"DESCEND","nope":{"a":1}}',
    '{"key":"Zm9v","rangeEnd":"Zm9w","limit":5,"sortOrder":2,"revision":null}',
  ]) {
    assert.deepEqual(fromJson(RangeRequest, text), expected);
  }
});

test('ids of 64 bits keep every digit, written as text or as a number', () => {
  for (const text of [
    '{"TTL":60,"ID":"-9223372036854775807"}',
    '{"TTL":"60","ID":-9223372036854775807}',
  ]) {
    assert.deepEqual(fromJson(LeaseGrantRequest, text), { ttl: 60, id: -9223372036854775807n });
  }
});

test('a transaction is read with its nested parts', () => {
  const text =
    '{"compare":[{"key":"Zm9v","target":"CREATE","result":"EQUAL","create_revision":"0"}],' +
    '"success":[{"request_put":{"key":"Zm9v","value":"YmFy"}},{"requestRange":{}}]}';
  const txn = fromJson(TxnRequest, text);
  assert.equal(txn.compare[0]?.target, 1);
  assert.deepEqual(txn.success[0]?.requestPut, PutRequest.create({ key: 'foo', value: 'bar' }));
  assert.deepEqual(txn.success[1]?.requestRange, RangeRequest.create());
});

test('an empty body is an empty message', () => {
  assert.deepEqual(fromJson(CompactionRequest, ''), { revision: 0, physical: false });
});

test('what does not fit is refused with the field and the value', () => {
  const cases: [string, RegExp][] = [
    ['{bad', /no JSON/],
    ['[]', /must be an object/],
    ['{"key":"!!"}', /bytes field key: "!!"/],
    ['{"limit":"x"}', /int64 field limit/],
    ['{"limit":1.5}', /int64 field limit/],
    ['{"limit":"99999999999999999999"}', /int64 field limit/],
    ['{"sort_order":"SIDEWAYS"}', /enum field sort_order/],
    ['{"serializable":1}', /bool field serializable/],
  ];
  for (const [text, message] of cases) {
    assert.throws(() => fromJson(RangeRequest, text), { code: 'ERR_INVALID_ARGUMENT', message });
  }
  const deep = `${'{"success":[{"request_txn":'.repeat(200)}{}${'}]}'.repeat(200)}`;
  assert.throws(() => fromJson(TxnRequest, deep), { code: 'ERR_INVALID_ARGUMENT' });
});
