/**
 * `quorate serve`: one node with its server, until it is told to stop or its disk fails. Takes
 * etcd's flags, and says `ready to serve client requests` where etcd does, so that scripts and test
 * tools that start `etcd` can start this.
 */
import { systemClock } from '../../core/clock.ts';
import { isQuorateError } from '../../core/errors.ts';
import type { ShutdownReport } from '../../http/index.ts';
import type { QuorateNode } from '../../node.ts';
import type { EtcdServer } from '../../server/index.ts';
import { VERSION } from '../../version.ts';
import { parseEtcdFlags } from '../etcd-flags.ts';
import { keepHeapSmall } from '../heap.ts';
import { EXIT, type Io } from '../io.ts';
import { type Log, openLog } from '../log.ts';
import { type ServeSettings, serveSettings } from '../serve-settings.ts';
import { toSupervisor } from '../supervisor.ts';
import { printVersion } from '../version-text.ts';

/** For calls in progress. */
const FINISH_MS = 2_000;
/** For handing over leadership and letting go of the disk: longer, and the disk hangs. */
const RELEASE_MS = 30_000;

export async function serve(argv: readonly string[], io: Io): Promise<number> {
  const flags = parseEtcdFlags(argv, io.env);
  if (flags.values.get('version') === 'true') return printVersion(io);
  const settings = serveSettings(flags);
  const output = settings.logOutput === 'stdout' ? io.stdout : io.stderr;
  const log = openLog({
    level: settings.logLevel,
    format: settings.logFormat,
    output,
    clock: systemClock,
  });
  for (const warning of settings.warnings) log('warn', warning);
  const parent = toSupervisor();
  const stop = AbortSignal.any([io.interrupted, parent.gone]);
  try {
    return await run(settings, stop, log, parent.tell);
  } catch (error) {
    if (stop.aborted) return EXIT.ok;
    const { message } = error as Error;
    const fields = isQuorateError(error) ? { code: error.code } : {};
    log('error', message, fields);
    parent.tell({ kind: 'failed', message, code: isQuorateError(error) ? error.code : '' });
    return EXIT.failed;
  } finally {
    parent.release();
  }
}

type Tell = ReturnType<typeof toSupervisor>['tell'];

async function run(
  settings: ServeSettings,
  stop: AbortSignal,
  log: Log,
  tell: Tell,
): Promise<number> {
  log('info', `starting Quorate ${VERSION}`, {
    name: settings.node.name,
    'data-dir': settings.node.dataDir,
    node: process.version,
  });
  keepHeapSmall();
  // Loaded here, so that a wrong flag or `--version` is answered at once.
  const { openNode } = await import('../../node.ts');
  const { serveEtcd } = await import('../../server/index.ts');
  const { gracefulShutdown } = await import('../../http/graceful-shutdown.ts');
  const node = await openNode({ ...settings.node, log });
  let server: EtcdServer | undefined;
  const roles = roleReports(node, tell);
  let code: number;
  let isClean = false;
  try {
    server = await serveEtcd(node.backend, {
      listenUrls: settings.listenClientUrls,
      maxRequestBytes: settings.maxRequestBytes,
      ...(settings.tls === undefined ? {} : { tls: settings.tls }),
    });
    log('info', 'waiting for a leader', { urls: server.urls });
    const ready = (): void => {
      log('info', 'ready to serve client requests', { urls: server!.urls });
      roles.report();
      tell({ kind: 'ready' });
    };
    code = await untilStopped(node, stop, ready, log, tell);
  } finally {
    roles.stop();
    const shutdown = gracefulShutdown({
      servers: server === undefined ? [] : [server],
      release: { node: () => node.close() },
      // Clients of etcd find another member by themselves: nobody has to notice first.
      delay: 0,
      deadlines: { finish: FINISH_MS, release: RELEASE_MS },
      // `main.ts` has them.
      signals: [],
      onReport: (report) => (isClean = tellEnd(report, log)),
    });
    await shutdown.run();
  }
  return isClean ? code : EXIT.failed;
}

/** @returns the exit code, where the end goes well */
async function untilStopped(
  node: QuorateNode,
  stop: AbortSignal,
  onReady: () => void,
  log: Log,
  tell: Tell,
): Promise<number> {
  const ended = untilEnd(node, stop);
  const ready = node.ready({ signal: stop }).then(() => undefined);
  const early = await Promise.race([ready, ended]);
  if (early === undefined) onReady();
  const failure = early ?? (await ended);
  if (failure === 'stopped') {
    log('info', 'stopping', { reason: String((stop.reason as Error).message) });
    return EXIT.ok;
  }
  // Removed: done, as etcd ends; to start it again would help nobody.
  if (isQuorateError(failure, 'ERR_CLOSED')) return EXIT.ok;
  tell({ kind: 'failed', message: failure.message, code: '' });
  return EXIT.failed;
}

/** @returns whether all was done */
function tellEnd({ phases, exitCode }: ShutdownReport, log: Log): boolean {
  for (const { name, outcome, message = '' } of phases.flatMap(({ steps }) => steps)) {
    if (outcome !== 'done') log('error', `stopping: ${name} ${outcome}: ${message}`);
  }
  log('info', 'stopped');
  return exitCode === 0;
}

/** Resolves when the node stops itself, with the reason, or when it is to stop. */
function untilEnd(node: QuorateNode, stop: AbortSignal): Promise<Error | 'stopped'> {
  return new Promise((resolve) => {
    const onStop = (): void => resolve('stopped');
    if (stop.aborted) onStop();
    else stop.addEventListener('abort', onStop, { once: true });
    void node.failed.then((error) => {
      stop.removeEventListener('abort', onStop);
      resolve(error);
    });
  });
}

const ROLE_INTERVAL_MS = 100;

/** Tells the parent process, if there is one, when this node's role changes. */
function roleReports(
  node: QuorateNode,
  tell: Tell,
): { readonly report: () => void; readonly stop: () => void } {
  let last = '';
  const report = (): void => {
    const { role, term } = node.status();
    if (last === `${role} ${term}`) return;
    last = `${role} ${term}`;
    tell({ kind: 'role', role, term });
  };
  return { report, stop: systemClock.every(ROLE_INTERVAL_MS, report) };
}
