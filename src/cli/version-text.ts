/** What `--version` prints; the first line is the one that etcd's tools look for. */
import { ETCD_VERSION, VERSION } from '../version.ts';
import { EXIT, type Io, line } from './io.ts';

export function printVersion(io: Io): number {
  line(io, `etcd Version: ${ETCD_VERSION}`);
  line(io, `Quorate Version: ${VERSION}`);
  line(io, `Node Version: ${process.version}`);
  line(io, `OS/Arch: ${process.platform}/${process.arch}`);
  return EXIT.ok;
}
