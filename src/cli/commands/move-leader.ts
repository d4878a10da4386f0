/** `quorate move-leader ID`: hands leadership to another member, before the leader is stopped. */
import { etcdService } from '../../drivers/etcd/index.ts';
import { parse } from '../args.ts';
import { clientOptions, connection } from '../client.ts';
import { EXIT, type Io, jsonLine, line, UsageError } from '../io.ts';
import { hexId, memberIdOf } from '../member-id.ts';

const TOPIC = 'move-leader';

export async function moveLeader(argv: readonly string[], io: Io): Promise<number> {
  const { values, positionals } = parse(TOPIC, clientOptions, argv);
  const [text, ...extra] = positionals;
  if (extra.length > 0) throw new UsageError(`'${extra[0]}' is one argument too many`, TOPIC);
  const to = memberIdOf(TOPIC, text);
  const client = etcdService(connection(TOPIC, values, io.env));
  try {
    await client.moveLeader(to, { signal: io.interrupted });
    if (values.json) jsonLine(io, { leader: hexId(to) });
    else line(io, `Leadership moved to member ${hexId(to)}`);
    return EXIT.ok;
  } finally {
    await client.close();
  }
}
