/**
 * The house rules as functions over files held in memory: each returns its violations as
 * `path: what is wrong and what to do`. `test/tidy.test.ts` runs them on planted violations and on
 * this repository.
 */
import { posix } from 'node:path';
import { LAYERS, type Layer } from './layers.ts';

/** Path from the root, with `/`, to content. */
export type Files = ReadonlyMap<string, string>;
export type Rule = (files: Files) => string[];

/** Tests, and the helpers beside them (`testing.ts`, `test-network.ts`), which are not published. */
const isTest = (path: string): boolean =>
  path.endsWith('.test.ts') || /(^|\/)(testing|test-[\w-]+)\.ts$/.test(path);
const isSource = (path: string): boolean =>
  path.startsWith('src/') && path.endsWith('.ts') && !isTest(path);

/** The source without its comments, same lines; strings that contain `//` after a colon stay. */
export function withoutComments(source: string): string {
  return source
    .replace(/\/\*[\s\S]*?\*\//g, (comment) => comment.replace(/[^\n]/g, ''))
    .replace(/(^|[^:'"`])\/\/.*$/gm, '$1');
}

const IMPORT =
  /\b(?:import|export)\s[^'"`;]*?\bfrom\s*['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]|^import\s*['"]([^'"]+)['"]/gm;

/** What a module imports or re-exports, types and lazy imports included. */
export function importsOf(source: string): string[] {
  const found = withoutComments(source).matchAll(IMPORT);
  return [...found].map((match) => (match[1] ?? match[2] ?? match[3])!);
}

export function layerOf(path: string): Layer | undefined {
  return LAYERS.find((layer) =>
    layer.paths.some((prefix) =>
      prefix.endsWith('/') ? path.startsWith(prefix) : path === prefix,
    ),
  );
}

const resolve = (from: string, specifier: string): string =>
  posix.join(posix.dirname(from), specifier);

function layerViolation(path: string, layer: Layer, specifier: string): string | undefined {
  if (specifier.startsWith('node:')) {
    if (!layer.pure) return undefined;
    return `${path}: imports ${specifier}, but ${layer.name} is pure: take it as an argument`;
  }
  if (!specifier.startsWith('.')) {
    return `${path}: imports the package ${specifier}, but Quorate has no dependencies`;
  }
  const target = resolve(path, specifier);
  const other = layerOf(target);
  if (other === undefined) return `${path}: imports ${target}, which belongs to no layer`;
  if (other.name !== layer.name) {
    if (layer.imports.includes(other.name)) return undefined;
    return `${path}: ${layer.name} may not import ${other.name} (${target})`;
  }
  const folder = (file: string): string | undefined => file.split('/')[2];
  if (!layer.separate || folder(path) === folder(target)) return undefined;
  return `${path}: ${layer.name} may not import each other (${target})`;
}

/** Imports point one way, as `layers.ts` draws it. */
export const importsPointOneWay: Rule = (files) => {
  const violations: string[] = [];
  for (const [path, source] of files) {
    if (!isSource(path)) continue;
    const layer = layerOf(path);
    if (layer === undefined) {
      violations.push(`${path}: belongs to no layer; give it one in test/tidy/layers.ts`);
      continue;
    }
    for (const specifier of importsOf(source)) {
      const violation = layerViolation(path, layer, specifier);
      if (violation !== undefined) violations.push(violation);
    }
  }
  return violations;
};

/** No module imports itself by way of others. */
export const noCycles: Rule = (files) => {
  const violations: string[] = [];
  const done = new Set<string>();
  const trail: string[] = [];
  const visit = (path: string): void => {
    if (done.has(path)) return;
    const start = trail.indexOf(path);
    if (start >= 0) {
      violations.push(`${path}: import cycle: ${[...trail.slice(start), path].join(' → ')}`);
      return;
    }
    trail.push(path);
    for (const specifier of importsOf(files.get(path) ?? '')) {
      if (specifier.startsWith('.')) visit(resolve(path, specifier));
    }
    trail.pop();
    done.add(path);
  };
  for (const path of files.keys()) if (isSource(path)) visit(path);
  return violations;
};

/** A rule about single lines of code: every match of `pattern` in the chosen files. */
function lineRule(
  chosen: (path: string) => boolean,
  pattern: RegExp,
  advice: string,
  options: { readonly comments?: boolean } = {},
): Rule {
  return (files) => {
    const violations: string[] = [];
    for (const [path, source] of files) {
      if (!chosen(path)) continue;
      const lines = (options.comments ? source : withoutComments(source)).split('\n');
      for (const [index, line] of lines.entries()) {
        const match = pattern.exec(line);
        if (match !== null) violations.push(`${path}:${index + 1}: ${match[0]}: ${advice}`);
      }
    }
    return violations;
  };
}

const isCode = (path: string): boolean => /\.(ts|mjs|sh)$/.test(path) || path === '.ci/run';
const AMBIENT_SOURCES = new Set(['src/core/clock.ts', 'src/core/random.ts']);

/** Time and randomness are injected, so that simulated ones can take their place. */
export const noAmbientTimeOrRandomness = lineRule(
  (path) => isSource(path) && !AMBIENT_SOURCES.has(path),
  /\b(Date\.now|Math\.random|performance\.now)\b|\bnew Date\(\)|\b(setTimeout|setInterval|randomBytes|randomInt|randomUUID|randomFillSync|getRandomValues)\(|node:timers|AbortSignal\.timeout/,
  'take a Clock or a Random (src/core) instead',
);

/** Written in pieces, so that this file does not break its own rule. */
const MARKER = new RegExp(
  `\\b(${['FIX' + 'ME', 'TO' + 'DO', 'XX' + 'X', 'HA' + 'CK'].join('|')})\\b`,
);
export const noLeftOverMarkers = lineRule(isCode, MARKER, 'do it, or open an issue', {
  comments: true,
});

export const noFocusedOrSilencedTests = lineRule(
  (path) => isTest(path) && path !== 'test/tidy.test.ts',
  /\b(test|it|describe|suite)\.(only|skip|todo)\b|\b(only|skip|todo): true\b/,
  'a skipped test gives its reason as text ({ skip: reason })',
);

/** Paths of one machine mean nothing on another. */
export const noMachinePaths = lineRule(
  (path) => path !== 'test/tidy/rules.ts' && path !== 'test/tidy.test.ts',
  /(?<![\w.~*-])\/(home|root|Users|work)\/[\w.]/,
  'a path of one machine; use one relative to the repository, or $HOME',
  { comments: true },
);

export const LINE_LIMIT = 500;
/** Longer ones that are left, with their lines. The list may only shrink. */
export const LONG_FILES: Readonly<Record<string, number>> = {};

/** A file holds one idea. */
export function fileLengths(files: Files, allowed: Readonly<Record<string, number>>): string[] {
  const violations: string[] = [];
  for (const [path, source] of files) {
    if (!path.endsWith('.ts') || isTest(path)) continue;
    const lines = source.split('\n').length - 1;
    const limit = allowed[path] ?? LINE_LIMIT;
    if (lines > limit) violations.push(`${path}: ${lines} lines, ${limit} are allowed: split it`);
    if (limit > LINE_LIMIT && lines < limit) {
      violations.push(`${path}: ${lines} lines now: lower its number in LONG_FILES`);
    }
  }
  for (const path of Object.keys(allowed)) {
    if (!files.has(path)) violations.push(`${path}: gone, take it off LONG_FILES`);
  }
  return violations;
}

/** A page has one title. */
export const oneTitle: Rule = (files) => {
  const violations: string[] = [];
  for (const [path, source] of files) {
    if (!path.endsWith('.md')) continue;
    const text = source.replace(/^```[\s\S]*?^```/gm, '');
    const titles = text.match(/^# .+/gm)?.length ?? 0;
    if (titles !== 1) violations.push(`${path}: ${titles} titles (# …), a page has one`);
  }
  return violations;
};

/** A link to another file of the repository leads somewhere. */
export const linksLeadSomewhere: Rule = (files) => {
  const violations: string[] = [];
  const folders = new Set([...files.keys()].flatMap(foldersOf));
  for (const [path, source] of files) {
    if (!path.endsWith('.md')) continue;
    for (const [, link] of source.matchAll(/\]\(([^)#\s]+)[^)]*\)/g)) {
      if (/^[a-z]+:/.test(link!)) continue;
      const target = resolve(path, link!).replace(/\/$/, '');
      if (files.has(target) || folders.has(target)) continue;
      violations.push(`${path}: links to ${link}, which does not exist`);
    }
  }
  return violations;
};

function foldersOf(path: string): string[] {
  const parts = path.split('/');
  return parts.slice(1).map((_, index) => parts.slice(0, index + 1).join('/'));
}

/** Every error code has a row in docs/errors.md, and every row is a code. */
export const errorsAreDocumented: Rule = (files) => {
  const source = withoutComments(files.get('src/core/errors.ts') ?? '');
  const union = /type ErrorCode =([\s\S]*?);/.exec(source)?.[1] ?? '';
  const codes = new Set([...union.matchAll(/'(ERR_\w+)'/g)].map((match) => match[1]!));
  const page = files.get('docs/errors.md') ?? '';
  const rows = new Set([...page.matchAll(/^\| `(ERR_\w+)` \|/gm)].map((match) => match[1]!));
  const missing = [...codes].filter((code) => !rows.has(code));
  const stale = [...rows].filter((code) => !codes.has(code));
  return [
    ...missing.map((code) => `docs/errors.md: ${code} has no row`),
    ...stale.map((code) => `docs/errors.md: ${code} is no error code`),
  ];
};

interface Manifest {
  readonly exports?: Readonly<Record<string, string | Readonly<Record<string, string>>>>;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly bin?: Readonly<Record<string, string>>;
}

/** The folder is the import path: `quorate/a/b` is `src/a/b/index.ts`; and nothing is depended on. */
export const exportsMatchFolders: Rule = (files) => {
  const manifest = JSON.parse(files.get('package.json') ?? '{}') as Manifest;
  const violations = Object.keys(manifest.dependencies ?? {}).map(
    (name) => `package.json: depends on ${name}, but Quorate has no dependencies`,
  );
  for (const [path, target] of Object.entries(manifest.exports ?? {})) {
    if (path === './package.json') continue;
    const folder = path === '.' ? '' : `${path.slice(2)}/`;
    const wanted = {
      'quorate-source': `./src/${folder}index.ts`,
      types: `./dist/${folder}index.d.ts`,
      default: `./dist/${folder}index.js`,
    };
    if (JSON.stringify(target) !== JSON.stringify(wanted)) {
      violations.push(`package.json: export "${path}" must be ${JSON.stringify(wanted)}`);
    }
    const entry = `src/${folder}index.ts`;
    if (!files.has(entry)) violations.push(`package.json: export "${path}": ${entry} is missing`);
  }
  return violations;
};

/** The entry points of the package: what `exports` and `bin` lead to, as sources. */
function entriesOf(files: Files): { readonly library: string[]; readonly all: string[] } {
  const manifest = JSON.parse(files.get('package.json') ?? '{}') as Manifest;
  const library = Object.values(manifest.exports ?? {}).flatMap((target) =>
    typeof target === 'string' ? [] : [target['quorate-source']!.slice(2)],
  );
  const programs = Object.values(manifest.bin ?? {}).map((file) =>
    file.replace(/^\.\/dist\/(.*)\.js$/, 'src/$1.ts'),
  );
  return { library, all: [...library, ...programs] };
}

/** Published only where its own entry point leads to it: `tsconfig.build.json` leaves the rest out. */
const TESTING = 'src/testing/';
const isTestSupport = (path: string): boolean => isTest(path) || path.startsWith(TESTING);

/** All that is published is reached from an entry point, and no test support among it. */
export const onlyWhatIsUsedIsPublished: Rule = (files) => {
  const violations: string[] = [];
  const reached = new Set(entriesOf(files).all);
  for (const path of reached) {
    for (const specifier of importsOf(files.get(path) ?? '')) {
      if (!specifier.startsWith('.')) continue;
      const target = resolve(path, specifier);
      const stays = path.startsWith(TESTING) && target.startsWith(TESTING) && !isTest(target);
      if (stays || !isTestSupport(target)) reached.add(target);
      else violations.push(`${path}: imports ${target}, which is for tests and not published`);
    }
  }
  for (const path of files.keys()) {
    if (!isSource(path) || isTestSupport(path) || reached.has(path)) continue;
    violations.push(`${path}: nothing published uses it: delete it, or move it to src/testing/`);
  }
  return violations;
};

/** Each name that the module at `path` exports, with the module that declares it. */
function* exportsOf(files: Files, path: string): Generator<readonly [name: string, path: string]> {
  const source = withoutComments(files.get(path) ?? '');
  for (const [, names, all, from] of source.matchAll(
    /^export (?:type )?(?:\{([^}]*)\}|(\*)) from '([^']+)'/gm,
  )) {
    const target = resolve(path, from!);
    if (all !== undefined) yield* exportsOf(files, target);
    for (const name of names?.match(/\w+(?=\s*(,|$))/g) ?? []) yield [name, target];
  }
  for (const [, name] of source.matchAll(DECLARATION)) yield [name!, path];
}

const DECLARATION =
  /^export (?:abstract |async )*(?:class|const|function\*?|interface|let|type) (\w+)/gm;

/** What users can import says what it is, where it is declared. */
export const publicExportsAreDocumented: Rule = (files) => {
  const violations = new Set<string>();
  for (const entry of entriesOf(files).library) {
    for (const [name, path] of exportsOf(files, entry)) {
      const declared = new RegExp(`\\*/\\nexport [\\w* ]*\\b${name}\\b`);
      if (declared.test(files.get(path) ?? '')) continue;
      violations.add(`${path}: ${name} is public and has no doc comment`);
    }
  }
  return [...violations];
};
