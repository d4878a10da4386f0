/** Holds the house rules: first each rule on a planted violation, then all of them on this repository. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { globSync, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import * as rules from './tidy/rules.ts';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

/** What git tracks or would add; in a folder without git, all that is not made by a command. */
function listing(): Iterable<string> {
  const git = spawnSync('git', ['ls-files', '-z', '-co', '--exclude-standard'], {
    cwd: root,
    encoding: 'utf8',
  });
  if (git.status === 0) return new Set(git.stdout.split('\0'));
  const made = /^(node_modules|\.cache|\.git|dist|quorate-data|bench\/results)(\/|$)/;
  return globSync(['**', '.*/**'], { cwd: root, exclude: (path) => made.test(path) });
}

function repository(): rules.Files {
  const files = new Map<string, string>();
  for (const path of listing()) {
    if (!statSync(join(root, path), { throwIfNoEntry: false })?.isFile()) continue;
    const content = readFileSync(join(root, path));
    if (!content.includes(0)) files.set(path, content.toString());
  }
  return files;
}

const planted = (files: Record<string, string>): rules.Files => new Map(Object.entries(files));

describe('a planted violation is found', () => {
  test('an import against the arrows', () => {
    const files = planted({
      'src/core/a.ts': "import { b } from '../kv/b.ts';",
      'src/kv/b.ts': "import { a } from '../core/a.ts';",
      'src/kv/kv.ts': "export type { Store } from './b.ts';",
      'src/server/c.ts': "const driver = await import('../drivers/etcd/index.ts');",
    });
    assert.deepEqual(rules.importsPointOneWay(files), [
      'src/core/a.ts: core may not import kv (src/kv/b.ts)',
      'src/kv/kv.ts: contracts may not import kv (src/kv/b.ts)',
      'src/server/c.ts: server may not import drivers (src/drivers/etcd/index.ts)',
    ]);
  });

  test('one driver that imports another', () => {
    const files = planted({ 'src/drivers/etcd/a.ts': "import x from '../redis/b.ts';" });
    assert.deepEqual(rules.importsPointOneWay(files), [
      'src/drivers/etcd/a.ts: drivers may not import each other (src/drivers/redis/b.ts)',
    ]);
  });

  test('a node: module in pure code, and a package anywhere', () => {
    const files = planted({
      'src/consensus/raft/a.ts': "import {\n  createHash,\n} from 'node:crypto';",
      'src/consensus/wal/b.ts': "import { open } from 'node:fs';\nimport 'left-pad';",
      'src/kv/c.test.ts': "import test from 'node:test';",
    });
    assert.deepEqual(rules.importsPointOneWay(files), [
      'src/consensus/raft/a.ts: imports node:crypto, but raft is pure: take it as an argument',
      'src/consensus/wal/b.ts: imports the package left-pad, but Quorate has no dependencies',
    ]);
  });

  test('a file without a layer', () => {
    assert.deepEqual(rules.importsPointOneWay(planted({ 'src/misc/a.ts': '' })), [
      'src/misc/a.ts: belongs to no layer; give it one in test/tidy/layers.ts',
    ]);
  });

  test('an import cycle, and not the comment that mentions one', () => {
    const files = planted({
      'src/kv/a.ts': "import { b } from './b.ts';",
      'src/kv/b.ts': "export * from './c.ts';",
      'src/kv/c.ts': "import type { A } from './a.ts';",
      'src/kv/d.ts': "// import { d } from './d.ts';\n/* import './d.ts'; */",
    });
    assert.deepEqual(rules.noCycles(files), [
      'src/kv/a.ts: import cycle: src/kv/a.ts → src/kv/b.ts → src/kv/c.ts → src/kv/a.ts',
    ]);
  });

  test('ambient time and randomness outside the clock and the random source', () => {
    const files = planted({
      'src/core/clock.ts': 'Date.now();',
      'src/kv/a.ts': '// Date.now()\nconst now = Date.now();\nsetTimeout(run, 5);\nclock.now();',
      'src/kv/b.ts': 'const url = "http://x"; Math.random();\nnew Date(0);',
    });
    assert.deepEqual(rules.noAmbientTimeOrRandomness(files), [
      'src/kv/a.ts:2: Date.now: take a Clock or a Random (src/core) instead',
      'src/kv/a.ts:3: setTimeout(: take a Clock or a Random (src/core) instead',
      'src/kv/b.ts:1: Math.random: take a Clock or a Random (src/core) instead',
    ]);
  });

  test('a left-over marker, a focused test, a silenced test', () => {
    const marker = `FIX${'ME'}`;
    const files = planted({
      'src/kv/a.test.ts': `// ${marker} later\ntest.only('x');\ntest('y', { skip: true });`,
      'scripts/b.sh': `# ${marker}\n`,
    });
    assert.deepEqual(rules.noLeftOverMarkers(files), [
      `src/kv/a.test.ts:1: ${marker}: do it, or open an issue`,
      `scripts/b.sh:1: ${marker}: do it, or open an issue`,
    ]);
    assert.deepEqual(rules.noFocusedOrSilencedTests(files), [
      'src/kv/a.test.ts:2: test.only: a skipped test gives its reason as text ({ skip: reason })',
      'src/kv/a.test.ts:3: skip: true: a skipped test gives its reason as text ({ skip: reason })',
    ]);
  });

  test('a path of one machine', () => {
    const files = planted({ 'docs/a.md': 'see /home/me/x\nand ~/work/y, a/home/b' });
    assert.deepEqual(rules.noMachinePaths(files), [
      'docs/a.md:1: /home/m: a path of one machine; use one relative to the repository, or $HOME',
    ]);
  });

  test('a file that grew too long, and an exception that is no longer needed', () => {
    const files = planted({
      'src/kv/a.ts': 'x\n'.repeat(501),
      'src/kv/b.ts': 'x\n'.repeat(590),
      'src/kv/c.ts': 'x\n'.repeat(500),
      'src/kv/c.test.ts': 'x\n'.repeat(900),
    });
    assert.deepEqual(rules.fileLengths(files, { 'src/kv/b.ts': 600, 'src/kv/gone.ts': 700 }), [
      'src/kv/a.ts: 501 lines, 500 are allowed: split it',
      'src/kv/b.ts: 590 lines now: lower its number in LONG_FILES',
      'src/kv/gone.ts: gone, take it off LONG_FILES',
    ]);
  });

  test('a page with two titles, or a dead link', () => {
    const files = planted({
      'docs/a.md': '# A\n```\n# comment\n```\n[b](b.md) [up](../src/) [web](https://x)',
      'docs/b.md': '# B\n# C\n[gone](gone.md#part)',
      'src/x.ts': '',
    });
    assert.deepEqual(rules.oneTitle(files), ['docs/b.md: 2 titles (# …), a page has one']);
    assert.deepEqual(rules.linksLeadSomewhere(files), [
      'docs/b.md: links to gone.md, which does not exist',
    ]);
  });

  test('an error code without a row, and a row without a code', () => {
    const files = planted({
      'src/core/errors.ts': "type ErrorCode =\n  // one; two\n  | 'ERR_A'\n  | 'ERR_B';",
      'docs/errors.md': '| `ERR_B` | x |\n| `ERR_C` | x |',
    });
    assert.deepEqual(rules.errorsAreDocumented(files), [
      'docs/errors.md: ERR_A has no row',
      'docs/errors.md: ERR_C is no error code',
    ]);
  });

  test('an export without a folder, and a dependency', () => {
    const target = {
      'quorate-source': './src/kv/index.ts',
      types: './dist/kv/index.d.ts',
      default: './dist/kv/index.js',
    };
    const manifest = { dependencies: { lodash: '1' }, exports: { './kv': target, './x': 'x.js' } };
    const files = planted({ 'package.json': JSON.stringify(manifest), 'src/x/index.ts': '' });
    const violations = rules.exportsMatchFolders(files);
    assert.equal(violations.length, 3);
    assert.match(violations[0]!, /depends on lodash/);
    assert.match(violations[1]!, /"\.\/kv": src\/kv\/index\.ts is missing/);
    assert.match(violations[2]!, /"\.\/x" must be .*src\/x\/index\.ts/);
  });

  test('a published file that nothing uses, and test support that would be published', () => {
    const files = planted({
      'package.json': JSON.stringify({
        exports: {
          './a': { 'quorate-source': './src/a/index.ts' },
          './testing': { 'quorate-source': './src/testing/index.ts' },
          './package.json': 'x',
        },
        bin: { quorate: './dist/cli/main.js' },
      }),
      'src/testing/index.ts': "export { clock } from './clock.ts';\nimport './test-clock.ts';",
      'src/testing/test-clock.ts': '',
      'src/testing/for-us.ts': '',
      'src/a/index.ts': "export { b } from './b.ts';",
      'src/a/b.ts': "import { clock } from '../testing/clock.ts';",
      'src/a/unused.ts': '',
      'src/a/b.test.ts': "import './unused.ts';",
      'src/cli/main.ts': "await import('./run.ts');",
      'src/cli/run.ts': '',
      'src/testing/clock.ts': '',
    });
    assert.deepEqual(rules.onlyWhatIsUsedIsPublished(files), [
      'src/testing/index.ts: imports src/testing/test-clock.ts, which is for tests and not published',
      'src/a/b.ts: imports src/testing/clock.ts, which is for tests and not published',
      'src/a/unused.ts: nothing published uses it: delete it, or move it to src/testing/',
    ]);
  });

  test('a public name without a doc comment', () => {
    const files = planted({
      'package.json': JSON.stringify({
        exports: { './a': { 'quorate-source': './src/a/index.ts' } },
      }),
      'src/a/index.ts': "export { type B, c } from './b.ts';\nexport type * from './d.ts';",
      'src/a/b.ts': '/** A b. */\nexport interface B {}\n\nexport function c() {}\nexport let own;',
      'src/a/d.ts': '/** One. */\nexport type D = 1;\nexport type E = 2;',
    });
    assert.deepEqual(rules.publicExportsAreDocumented(files), [
      'src/a/b.ts: c is public and has no doc comment',
      'src/a/d.ts: E is public and has no doc comment',
    ]);
  });
});

describe('this repository', () => {
  const files = repository();
  const keeps: Record<string, rules.Rule> = {
    'imports point one way': rules.importsPointOneWay,
    'there are no import cycles': rules.noCycles,
    'time and randomness are injected': rules.noAmbientTimeOrRandomness,
    'no marker was left over': rules.noLeftOverMarkers,
    'no test is focused or silenced': rules.noFocusedOrSilencedTests,
    'no path of one machine is named': rules.noMachinePaths,
    'files are short': (all) => rules.fileLengths(all, rules.LONG_FILES),
    'a page has one title': rules.oneTitle,
    'links lead somewhere': rules.linksLeadSomewhere,
    'errors are documented, both ways': rules.errorsAreDocumented,
    'exports match folders, and nothing is depended on': rules.exportsMatchFolders,
    'only what is used is published': rules.onlyWhatIsUsedIsPublished,
    'public names are documented': rules.publicExportsAreDocumented,
  };
  for (const [name, rule] of Object.entries(keeps)) {
    test(name, () => {
      const violations = rule(files);
      assert.ok(violations.length === 0, `\n${violations.join('\n')}\n`);
    });
  }
});
