/** Packages that are compared and nothing else: installed beside the build products, never into the project. */
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/**
 * Installs packages, each as `name@version`, into a folder of their own, as npm removes from a folder what it was not told.
 * Resolves with the folder; what is there already is left as it is.
 */
export async function installPeers(folder: string, packages: readonly string[]): Promise<string> {
  const prefix = fileURLToPath(new URL(`../node_modules/.cache/${folder}`, import.meta.url));
  const names = packages.map((one) => one.slice(0, one.lastIndexOf('@')));
  if (names.every((name) => existsSync(join(prefix, 'node_modules', name, 'package.json')))) {
    return prefix;
  }
  await mkdir(prefix, { recursive: true });
  const flags = ['--ignore-scripts', '--no-save', '--no-package-lock'];
  execFileSync('npm', ['install', '--prefix', prefix, ...flags, ...packages], { stdio: 'ignore' });
  return prefix;
}

/** Loads an installed peer. Its types are not there, so that the caller says which parts it uses. */
export function requirePeer<T>(prefix: string, name: string): T {
  return createRequire(join(prefix, 'package.json'))(name) as T;
}
