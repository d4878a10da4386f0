/**
 * Reads Prometheus' text format 0.0.4 and OpenMetrics as their specifications have them, and refuses all else. Shares nothing
 * with what writes it.
 */
import assert from 'node:assert/strict';

export interface ParsedSample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface ParsedFamily {
  readonly type: string;
  readonly help: string;
  readonly unit: string | undefined;
  readonly samples: ParsedSample[];
}

const SUFFIXES: Readonly<Record<string, readonly string[]>> = {
  counter: ['', '_total'],
  gauge: [''],
  histogram: ['_bucket', '_sum', '_count'],
};

export function parse(text: string, format: 'text' | 'openmetrics' = 'text') {
  const families = new Map<string, ParsedFamily>();
  let current: { name: string; family: ParsedFamily } | undefined;
  let help: [name: string, text: string] | undefined;
  const lines = text.split('\n');
  assert.equal(lines.pop(), '', 'the last line ends');
  if (format === 'openmetrics') assert.equal(lines.pop(), '# EOF');
  for (const line of lines) {
    const [, keyword, name, rest] = /^# (\w+) (\S+) (.*)$/.exec(line) ?? [];
    if (keyword === 'HELP') {
      help = [name!, rest!.replace(/\\(.)/g, (_, one: string) => (one === 'n' ? '\n' : one))];
    } else if (keyword === 'TYPE') {
      assert.equal(help?.[0], name, 'HELP comes before TYPE');
      assert.ok(!families.has(name!), `${name} comes once`);
      assert.ok(SUFFIXES[rest!] !== undefined, `${rest} is a type`);
      current = {
        name: name!,
        family: { type: rest!, help: help![1], unit: undefined, samples: [] },
      };
      families.set(name!, current.family);
    } else if (keyword === 'UNIT') {
      assert.equal(current?.name, name);
      assert.ok(name!.endsWith(`_${rest}`));
      current!.family = { ...current!.family, unit: rest };
      families.set(name!, current!.family);
    } else {
      const sample = parseSample(line);
      const { name: family, family: into } = current!;
      assert.ok(
        SUFFIXES[into.type]!.some((suffix) => sample.name === `${family}${suffix}`),
        `${sample.name} belongs to ${family}`,
      );
      into.samples.push(sample);
    }
  }
  for (const [name, family] of families) check(name, family);
  return families;
}

function parseSample(line: string): ParsedSample {
  const [, name, rest] = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(.*)$/.exec(line) ?? [];
  assert.ok(name !== undefined, `a line without a name: ${line}`);
  const labels: Record<string, string> = {};
  let at = 0;
  if (rest![0] === '{') {
    at = 1;
    while (rest![at] !== '}') {
      const pair = /^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)",?/.exec(rest!.slice(at));
      assert.ok(pair !== null, `labels that are none: ${line}`);
      assert.ok(!(pair[1]! in labels), `a label that comes twice: ${line}`);
      labels[pair[1]!] = pair[2]!.replace(/\\(.)/g, (_, one: string) => (one === 'n' ? '\n' : one));
      at += pair[0].length;
    }
    at += 1;
  }
  const [, number] = /^ (NaN|[+-]Inf|-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)$/.exec(rest!.slice(at)) ?? [];
  assert.ok(number !== undefined, `a value that is none: ${line}`);
  return { name, labels, value: number === '+Inf' ? Number.POSITIVE_INFINITY : Number(number) };
}

function check(name: string, { type, samples }: ParsedFamily): void {
  const keys = samples.map((sample) => seriesKey(sample));
  assert.equal(new Set(keys).size, keys.length, `${name}: each series comes once`);
  if (type !== 'histogram') return;
  const buckets = samples.filter((sample) => sample.name === `${name}_bucket`);
  for (const count of samples.filter((sample) => sample.name === `${name}_count`)) {
    const own = buckets.filter(({ labels: { le: _, ...labels } }) => {
      return JSON.stringify(labels) === JSON.stringify(count.labels);
    });
    assert.ok(own.length > 1);
    const bounds = own.map(({ labels }) => (labels.le === '+Inf' ? Infinity : Number(labels.le)));
    assert.deepEqual(
      bounds,
      bounds.toSorted((one, other) => one - other),
    );
    assert.equal(bounds.at(-1), Infinity);
    const values = own.map(({ value }) => value);
    assert.deepEqual(
      values,
      values.toSorted((one, other) => one - other),
    );
    assert.equal(values.at(-1), count.value);
  }
}

/** What a series is known by. */
export function seriesKey({ name, labels }: ParsedSample): string {
  return JSON.stringify([name, Object.entries(labels).sort()]);
}
