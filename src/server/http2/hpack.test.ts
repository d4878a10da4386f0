import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HpackDecoder } from './hpack-decoder.ts';
import { fieldBlock, HpackEncoder } from './hpack-encoder.ts';
import { HUFFMAN_LENGTHS } from './hpack-tables.ts';
import { decodeHuffman } from './huffman.ts';

function decodeHex(decoder: HpackDecoder, hex: string): string[] | undefined {
  const block = Buffer.from(hex.replaceAll(' ', ''), 'hex');
  return decoder.decode(block, 0, block.length);
}

const GET_1 = [':method', 'GET', ':scheme', 'http', ':path', '/', ':authority', 'www.example.com'];
const GET_2 = [...GET_1, 'cache-control', 'no-cache'];
const GET_3 = [
  ...[':method', 'GET', ':scheme', 'https', ':path', '/index.html'],
  ...[':authority', 'www.example.com', 'custom-key', 'custom-value'],
];

test('appendix C.2: the four representations of a field', () => {
  const read = (hex: string): string[] | undefined => decodeHex(new HpackDecoder(4096, 65536), hex);
  assert.deepEqual(read('400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572'), [
    'custom-key',
    'custom-header',
  ]);
  assert.deepEqual(read('040c 2f73 616d 706c 652f 7061 7468'), [':path', '/sample/path']);
  assert.deepEqual(read('1008 7061 7373 776f 7264 0673 6563 7265 74'), ['password', 'secret']);
  assert.deepEqual(read('82'), [':method', 'GET']);
});

test('appendix C.3: requests without Huffman code share a table', () => {
  const decoder = new HpackDecoder(4096, 65536);
  assert.deepEqual(decodeHex(decoder, '8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d'), GET_1);
  assert.deepEqual(decodeHex(decoder, '8286 84be 5808 6e6f 2d63 6163 6865'), GET_2);
  assert.deepEqual(
    decodeHex(decoder, '8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65'),
    GET_3,
  );
});

test('appendix C.4: requests with Huffman code', () => {
  const decoder = new HpackDecoder(4096, 65536);
  assert.deepEqual(decodeHex(decoder, '8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff'), GET_1);
  assert.deepEqual(decodeHex(decoder, '8286 84be 5886 a8eb 1064 9cbf'), GET_2);
  assert.deepEqual(
    decodeHex(decoder, '8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf'),
    GET_3,
  );
});

test('appendix C.6: a table of 256 bytes evicts its oldest entries', () => {
  const decoder = new HpackDecoder(256, 65536);
  const first = [
    ...[':status', '302', 'cache-control', 'private'],
    ...['date', 'Mon, 21 Oct 2013 20:13:21 GMT', 'location', 'https://www.example.com'],
  ];
  assert.deepEqual(
    decodeHex(
      decoder,
      '4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6' +
        '2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3',
    ),
    first,
  );
  assert.deepEqual(decodeHex(decoder, '4883 640e ffc1 c0bf'), [
    ...[':status', '307', 'cache-control', 'private'],
    ...['date', 'Mon, 21 Oct 2013 20:13:21 GMT', 'location', 'https://www.example.com'],
  ]);
});

test('the Huffman code is complete: every sequence of bits means something', () => {
  let kraft = 0;
  for (const bits of HUFFMAN_LENGTHS) kraft += 2 ** -bits;
  assert.equal(HUFFMAN_LENGTHS.length, 257);
  assert.equal(kraft, 1);
});

test('Huffman padding must be ones, shorter than a byte, and without an end-of-string symbol', () => {
  const decode = (hex: string): string | undefined =>
    decodeHuffman(Buffer.from(hex, 'hex'), 0, hex.length / 2);
  assert.equal(decode('07'), '0'); // 00000 111
  assert.equal(decode('00'), undefined); // padded with zeros
  assert.equal(decode('07ff'), undefined); // eleven bits of padding
  assert.equal(decode('ffffffff'), undefined); // the end of string itself
  assert.equal(decode(''), '');
});

test('broken blocks are refused as a compression error', () => {
  const blocks = {
    'index 0': '80',
    'index beyond the table': 'be',
    'integer without end': 'ff ff ff ff ff ff ff 7f',
    'field cut off': '40',
    'string beyond the block': '00 7f 61',
    'table size beyond the setting': '3f e1 7f',
    'table size update after a field': '82 20',
    'bad Huffman code': '00 81 00 01 61',
  };
  for (const [what, hex] of Object.entries(blocks)) {
    const decoder = new HpackDecoder(4096, 65536);
    assert.throws(() => decodeHex(decoder, hex), { name: 'ConnectionError', code: 9 }, what);
  }
});

test('a list beyond the limit is not kept, and the table still follows', () => {
  const decoder = new HpackDecoder(4096, 100);
  assert.equal(decodeHex(decoder, '4001 6101 62 be be be be'), undefined);
  assert.deepEqual(decodeHex(decoder, 'be'), ['a', 'b']);
});

test('the encoder sends a repeated field whole once and by index from then on', () => {
  const head = fieldBlock([
    { name: ':status', value: '200' },
    { name: 'content-type', value: 'application/grpc', repeated: true },
  ]);
  const trailers = fieldBlock([{ name: 'grpc-status', value: '0', repeated: true }]);
  const encoder = new HpackEncoder();
  const decoder = new HpackDecoder(4096, 65536);
  const sizes: number[] = [];
  for (const block of [head, head, trailers, head, trailers]) {
    const buffer = Buffer.alloc(block.maxBytes);
    const end = encoder.write(block, buffer, 0);
    const fields = decoder.decode(buffer, 0, end);
    assert.deepEqual(
      fields,
      block === trailers
        ? ['grpc-status', '0']
        : [':status', '200', 'content-type', 'application/grpc'],
    );
    sizes.push(end);
  }
  assert.deepEqual(sizes, [19, 2, 15, 2, 1]);
});

test('a peer with a small table is told that it is not used', () => {
  const block = fieldBlock([{ name: 'grpc-status', value: '0', repeated: true }]);
  const encoder = new HpackEncoder();
  encoder.limitTable(0);
  const decoder = new HpackDecoder(0, 65536);
  for (const expected of [0x20, 0x00]) {
    const buffer = Buffer.alloc(block.maxBytes);
    const end = encoder.write(block, buffer, 0);
    assert.equal(buffer[0], expected);
    assert.deepEqual(decoder.decode(buffer, 0, end), ['grpc-status', '0']);
  }
});
