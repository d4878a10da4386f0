/** The dashboard for Grafana and docs/telemetry.md show what is exported, all of it and nothing else. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { prometheusMetrics } from '../src/prometheus/index.ts';
import * as channels from '../src/telemetry/channels.ts';
import { everything } from '../src/telemetry/figures/test-everything.ts';
import { parse } from '../src/telemetry/figures/test-exposition.ts';

interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly gridPos: Readonly<Record<'h' | 'w' | 'x' | 'y', number>>;
  readonly datasource?: { readonly uid: string };
  readonly targets?: readonly {
    readonly refId: string;
    readonly expr: string;
    readonly legendFormat: string;
    readonly datasource: { readonly uid: string };
  }[];
}

interface Dashboard {
  readonly schemaVersion: number;
  readonly panels: readonly Panel[];
  readonly templating: {
    readonly list: readonly {
      readonly name: string;
      readonly type: string;
      readonly query: string | { readonly query: string };
    }[];
  };
}

const file = new URL('../dashboards/quorate.json', import.meta.url);
const dashboard = JSON.parse(readFileSync(file, 'utf8')) as Dashboard;
const variables = dashboard.templating.list;
const queries = dashboard.panels.flatMap(({ targets = [] }) => targets);

/** Added by Prometheus. */
const OF_PROMETHEUS = ['job', 'instance'];

/** The metrics in a query, each with the labels that are asked of it: it always is asked some. */
function selectorsIn(query: string): { readonly metric: string; readonly labels: string[] }[] {
  return [...query.matchAll(/\b((?:quorate|http)_\w+)\{([^}]*)\}/g)].map(
    ([, metric, matchers]) => ({
      metric: metric!,
      labels: [...matchers!.matchAll(/(\w+)(?:=~?|!=|!~)"/g)].map(([, label]) => label!),
    }),
  );
}

describe('the dashboard', async () => {
  const { sources } = await everything();
  const families = parse(prometheusMetrics(sources).text());
  /** By the names that lines have, which for histograms are not that of the family. */
  const exported = new Map<string, { readonly family: string; readonly labels: Set<string> }>();
  for (const [family, { samples }] of families) {
    for (const { name, labels } of samples) {
      const known = exported.get(name) ?? { family, labels: new Set(OF_PROMETHEUS) };
      for (const label of Object.keys(labels)) known.labels.add(label);
      exported.set(name, known);
    }
  }

  it('asks only for metrics and labels that there are', () => {
    assert.ok(queries.length > 40);
    for (const { expr } of queries) {
      const selectors = selectorsIn(expr);
      assert.ok(selectors.length > 0, expr);
      const labels = new Set<string>();
      for (const selector of selectors) {
        const metric = exported.get(selector.metric);
        assert.ok(metric !== undefined, `${selector.metric} is not exported: ${expr}`);
        for (const label of selector.labels) {
          assert.ok(metric.labels.has(label), `${selector.metric} has no label ${label}`);
        }
        for (const label of metric.labels) labels.add(label);
      }
      for (const [, list] of expr.matchAll(/\bby \(([^)]*)\)/g)) {
        for (const label of list!.split(', ')) assert.ok(labels.has(label), `${label}: ${expr}`);
      }
    }
  });

  it('shows everything that is exported', () => {
    const shown = new Set(
      queries.flatMap(({ expr }) =>
        selectorsIn(expr).map(({ metric }) => exported.get(metric)?.family),
      ),
    );
    const missing = [...families.keys()].filter((family) => !shown.has(family));
    assert.deepEqual(missing, []);
  });

  it('asks for rates of counters, and for none of gauges', () => {
    for (const { expr } of queries) {
      for (const { metric } of selectorsIn(expr)) {
        const { type } = families.get(exported.get(metric)!.family)!;
        const inRate = new RegExp(`(?:rate|increase)\\(${metric}\\{[^}]*\\}\\[`).test(expr);
        assert.equal(inRate, type !== 'gauge', `${metric}: ${expr}`);
      }
    }
  });

  it('groups by the labels that its legends name', () => {
    for (const { expr, legendFormat } of queries) {
      const by = new Set(
        [...expr.matchAll(/\bby \(([^)]*)\)/g)].flatMap(([, one]) => one!.split(', ')),
      );
      for (const [, label] of legendFormat.matchAll(/\{\{(\w+)\}\}/g)) {
        assert.ok(by.has(label!), `${label} of '${legendFormat}': ${expr}`);
      }
    }
  });

  it('has the variables that it uses, and takes the data source from one', () => {
    const names = new Set(variables.map(({ name }) => name));
    assert.ok(variables.some(({ name, type }) => name === 'datasource' && type === 'datasource'));
    for (const { expr, datasource } of queries) {
      assert.equal(datasource.uid, '${' + 'datasource}');
      for (const [, name] of expr.matchAll(/\$(?!__)(\w+)/g)) assert.ok(names.has(name!), name);
    }
    for (const { name, type, query } of variables) {
      if (type !== 'query') continue;
      const text = typeof query === 'string' ? query : query.query;
      const [, metric, label] = /^label_values\((\w+), (\w+)\)$/.exec(text) ?? [];
      assert.equal(label, name);
      assert.ok(exported.get(metric!)?.labels.has(label!), text);
    }
  });

  it('has panels that have ids of their own and do not overlap', () => {
    assert.ok(dashboard.schemaVersion >= 36);
    const { panels } = dashboard;
    assert.equal(new Set(panels.map(({ id }) => id)).size, panels.length);
    const rows = panels.filter(({ type }) => type === 'row').map(({ title }) => title);
    assert.deepEqual(rows, [
      'Pipelines',
      'Breakers and degradation',
      'Limits and load',
      'Retries and hedges',
      'Pools',
      'HTTP',
    ]);
    const taken = new Set<string>();
    for (const { gridPos, title, targets = [] } of panels) {
      const { x, y, w, h } = gridPos;
      assert.ok(x >= 0 && w > 0 && x + w <= 24, title);
      for (let column = x; column < x + w; column++) {
        for (let line = y; line < y + h; line++) {
          assert.ok(!taken.has(`${column} ${line}`), `${title} overlaps another`);
          taken.add(`${column} ${line}`);
        }
      }
      assert.equal(new Set(targets.map(({ refId }) => refId)).size, targets.length, title);
    }
  });
});

describe('docs/telemetry.md', async () => {
  const page = readFileSync(new URL('../docs/telemetry.md', import.meta.url), 'utf8');
  const rows = [...page.matchAll(/^\| `([\w:]+)` \|(.*?)\|/gm)];

  it('has a row for each metric, with its labels', async () => {
    const { sources } = await everything();
    const families = parse(prometheusMetrics(sources).text());
    const described = new Map(rows.map(([, name, labels]) => [name!, labels!]));
    for (const [name, { samples }] of families) {
      const labels = new Set(samples.flatMap((sample) => Object.keys(sample.labels)));
      // Of policies these are said once for all.
      if (labels.has('policy')) labels.delete('pipeline');
      labels.delete('policy');
      labels.delete('le');
      const said = [...(described.get(name) ?? '').matchAll(/`(\w+)`/g)].map(([, label]) => label);
      assert.ok(described.has(name), `${name} has no row`);
      assert.deepEqual(said.toSorted(), [...labels].toSorted(), name);
    }
    const metrics = [...described.keys()].filter((name) => !name.includes(':'));
    assert.deepEqual(metrics.toSorted(), [...families.keys()].toSorted());
  });

  it('has a row for each channel', () => {
    const known = Object.values(channels).map((one) => (one as unknown as { name: string }).name);
    const described = rows.map(([, name]) => name!).filter((name) => name.includes(':'));
    assert.deepEqual(described.toSorted(), known.toSorted());
  });
});
